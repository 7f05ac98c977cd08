#!/usr/bin/env bash
# Prints the layers of the nodes' root filesystem, the upper one first, as the
# lowerdir of overlayfs has them. What is not in the cache yet is built:
#
#   debian-*      the distribution: systemd, D-Bus, Docker and, as on Amazon Linux, dnf and rpm
#   instance-*    the files of rootfs/, the packages of rpm/ in a local repository, ecs-init installed
#
# Each is keyed by what goes into it, so that a change there builds another one.
# Packages come from where the apt of this machine has its own.
set -euo pipefail
shopt -s inherit_errexit
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly packages=(
	systemd systemd-sysv dbus udev
	docker.io iptables iproute2 ca-certificates
	e2fsprogs xfsprogs util-linux mount procps curl busybox-static
	dnf rpm createrepo-c
	rsyslog chrony # of templates/examples; they run where a case enables them
)
# Nodes share the kernel of their host: what would set it up, wait for its
# hardware or look for work at odd times has no place in them.
readonly masked=(
	systemd-sysctl.service systemd-binfmt.service systemd-modules-load.service
	proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount
	systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service
	sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount
	systemd-remount-fs.service systemd-journald-audit.socket
	getty.target console-getty.service
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
	fstrim.timer dnf-makecache.timer
)

# own_sources prints the files where this machine's apt has its distribution from.
own_sources() {
	local distribution
	# shellcheck source=/dev/null
	distribution=$(. /etc/os-release && echo "$ID")
	# shellcheck disable=SC2016 # apt expands it
	apt-get indextargets --format '$(SOURCESENTRY)' 'Created-By: Packages' "Origin: ${distribution^}" |
		sed 's/:[0-9]*$//' | sort -u
}

# build_debian makes the lower layer in directory $1.
build_debian() {
	local include sources
	need_root_and mmdebstrap=mmdebstrap apt-get=apt
	include=$(IFS=, && echo "${packages[*]}")
	mapfile -t sources < <(own_sources)
	if ((${#sources[@]} == 0)); then
		apt-get update >&2
		mapfile -t sources < <(own_sources)
	fi
	((${#sources[@]} > 0)) || die "apt-get update found no index of this machine's distribution"
	mmdebstrap --quiet --variant=minbase --include="$include" \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
		'' "$1" "${sources[@]}" >&2
	chroot "$1" systemctl --quiet mask "${masked[@]}"
	chroot "$1" systemctl --quiet disable rsyslog.service chrony.service
	chroot "$1" systemctl --quiet set-default multi-user.target
	rm -f "$1/etc/hostname" "$1/etc/resolv.conf"
	: >"$1/etc/resolv.conf"
	: >"$1/etc/machine-id"
}

# build_instance makes the upper layer in directory $1, on the lower one $2.
build_instance() {
	cp -R --no-preserve=ownership "$testnode/rootfs/." "$1"
	mkdir -p "$1/usr/src/rpm"
	cp "$testnode"/rpm/* "$1/usr/src/rpm"
	rm -rf --one-file-system "$1.overlay"
	mkdir "$1.overlay" "$1.overlay/work" "$1.overlay/root"
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare --mount --propagation private bash -euc '
		mount -t overlay overlay -o "lowerdir=$2,upperdir=$1,workdir=$1.overlay/work" "$1.overlay/root"
		mount -t proc proc "$1.overlay/root/proc"
		mount --rbind /dev "$1.overlay/root/dev"
		chroot "$1.overlay/root" bash /usr/src/rpm/install.sh' bash "$1" "$2" >"$1.overlay/log" 2>&1 ||
		die "cannot install the packages: $(tail -n 30 "$1.overlay/log")"
	rm -rf --one-file-system "$1.overlay"
}

# layer NAME COMMAND... prints the directory NAME in the cache, made by the
# command in a directory that is its next argument if it is not there.
layer() {
	local name=$1 partial=$cache/partial-$1
	shift
	if [[ ! -d $cache/$name ]]; then
		echo "rootfs: building $cache/$name" >&2
		rm -rf --one-file-system "$partial"
		mkdir "$partial"
		chmod 755 "$partial"
		"$1" "$partial" "${@:2}"
		sync -f "$partial"
		mv "$partial" "$cache/$name"
	fi
	echo "$cache/$name"
}

key() { sha256sum | cut -c 1-16; }

umask 022
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
trap 'rm -rf --one-file-system "$cache"/partial-*' EXIT
debian_key=$(key < <(printf '%s\n' "${packages[@]}" "${masked[@]}" && declare -f build_debian && uname -m && cat /etc/os-release))
instance_key=$(key < <(echo "$debian_key" && declare -f build_instance && cd "$testnode" && find rootfs rpm -type f -print0 | sort -z | xargs -0 sha256sum && find rootfs -type f -perm /100 | sort))
debian=$(layer "debian-$debian_key" build_debian)
instance=$(layer "instance-$instance_key" build_instance "$debian")
echo "$instance:$debian"
