#!/usr/bin/env bash
# Installs what the targets of the Makefile need beyond Go and make: Debian and
# Ubuntu packages, only those that are missing, without asking anything.
#
#   scripts/setup.sh              everything; exit 1 if something stays missing
#   scripts/setup.sh TARGET...    what these targets (build, test, lint, e2e) need;
#                                 what stays missing is said and the target goes
#                                 on where it can, except with CI=true
#
# Packages are installed as root only. Another user is told the command.
set -euo pipefail

# needs lists: the targets, the package, and a command that succeeds when it is there.
needs() {
	cat <<-'END'
		build,test,lint  ca-certificates  test -s /etc/ssl/certs/ca-certificates.crt
		build            git              command -v git
		test             gcc              command -v gcc
		test             libc6-dev        test -e /usr/include/stdlib.h
		test             dash             command -v dash
		test             busybox          command -v busybox
		test             systemd          command -v systemd-analyze
		test             iptables         command -v iptables
		test             dbus-daemon      command -v dbus-daemon
		lint             shellcheck       command -v shellcheck
		lint,test        packer           command -v packer
		e2e              mmdebstrap       command -v mmdebstrap
		e2e              procps           command -v pgrep
		e2e              util-linux       command -v unshare && command -v nsenter && command -v losetup && command -v flock
		e2e              mount            command -v mount
		e2e              iproute2         command -v ip
		e2e              e2fsprogs        command -v mkfs.ext4
		e2e              curl             command -v curl
		e2e              diffutils        command -v cmp
		e2e              findutils        command -v find
	END
}

# missing prints the packages that the given targets need and this machine lacks.
missing() {
	local targets package present target
	while read -r targets package present; do
		for target in "$@"; do
			if [[ ,$targets, == *,$target,* ]] && ! eval "$present" >/dev/null 2>&1; then
				echo "$package"
				break
			fi
		done
	done < <(needs)
}

install() {
	local log
	log=$(mktemp)
	echo "setup: installing $*"
	export DEBIAN_FRONTEND=noninteractive
	if ! { apt-get update && apt-get install -y --no-install-recommends "$@"; } </dev/null >"$log" 2>&1; then
		tail -n 20 "$log" >&2
	fi
	rm -f "$log"
}

# Go 1.21 was the first to fetch the Go that a newer go.mod asks for.
check_go() {
	local have
	if ! have=$(go version 2>/dev/null); then
		echo "setup: cannot find go: install Go from https://go.dev/dl/ and put it on PATH" >&2
		exit 1
	fi
	have=${have#go version go}
	have=${have%% *}
	if [[ $have == 1.* && $(printf '%s\n' 1.21 "$have" | sort -V | head -n 1) != 1.21 ]]; then
		echo "setup: Go $have is too old: install a newer one from https://go.dev/dl/" >&2
		exit 1
	fi
}

check_go
targets=("$@")
if [[ $# -eq 0 ]]; then
	targets=(build test lint e2e)
fi
mapfile -t lacking < <(missing "${targets[@]}")
if [[ ${#lacking[@]} -gt 0 && $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
	install "${lacking[@]}"
	mapfile -t lacking < <(missing "${targets[@]}")
fi
if [[ ${#lacking[@]} -gt 0 ]]; then
	echo "setup: missing: ${lacking[*]}; on Debian or Ubuntu install with: sudo apt-get update && sudo apt-get install -y ${lacking[*]}" >&2
	if [[ $# -eq 0 || ${CI:-} == true ]]; then
		exit 1
	fi
fi
