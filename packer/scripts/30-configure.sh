#!/usr/bin/env bash
# Lays down the files of the team (settings, templates, public keys, a first
# bundle) and enables the units. The files belong to root; nobody else may write
# to them. Programs stay executable.
set -euo pipefail
files=/tmp/ecsnode-image/files

die() {
	echo "configure: $*" >&2
	exit 1
}

if [[ -d $files ]]; then
	odd=$(find "$files" ! -type f ! -type d)
	[[ -z $odd ]] || die "only files and directories can be laid down: $odd"
	while IFS= read -r -d '' file; do
		to=${file#"$files"}
		case $to in
		/.gitkeep) continue ;;
		/etc/* | /opt/* | /usr/local/* | /usr/share/* | /srv/*) ;;
		*) die "$to is not below /etc, /opt, /srv, /usr/local or /usr/share" ;;
		esac
		mode=644
		if [[ -x $file ]]; then
			mode=755
		fi
		install -D -o root -g root -m "$mode" "$file" "$to"
		echo "configure: $to"
	done < <(find "$files" -type f -print0 | sort -z)
fi
systemctl daemon-reload
systemctl enable ecsnode-early.service ecsnode-boot.service ecsnode.service ecsnode-shutdown.service
