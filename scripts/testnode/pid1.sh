#!/usr/bin/env bash
# Makes the root of a node and becomes its systemd. Runs in the node's own
# namespaces, so that every mount made here goes away with the node.
#
#   pid1.sh DIRECTORY LAYERS
set -euo pipefail
dir=$1 layers=$2
root=$dir/root

# enter_cgroups moves this process into a cgroup of the node in every hierarchy
# of this host: one with cgroup v2, one for each controller with v1, both mixed.
enter_cgroups() {
	local hierarchies=(/sys/fs/cgroup/*/) hierarchy group file
	if [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; then
		hierarchies=(/sys/fs/cgroup/)
	fi
	for hierarchy in "${hierarchies[@]}"; do
		if [[ -L ${hierarchy%/} || ! -f ${hierarchy}cgroup.procs ]]; then
			continue
		fi
		group=${hierarchy}testnode-${dir##*/}
		mkdir -p "$group"
		for file in cpuset.cpus cpuset.mems; do # empty in a new v1 cpuset, and nothing can enter
			if [[ -f $hierarchy/$file && -f $group/$file && ! -f ${hierarchy}cgroup.controllers ]]; then
				cat "$hierarchy/$file" >"$group/$file"
			fi
		done
		echo 0 >"$group/cgroup.procs"
	done
}

# The root of the cgroup namespace made here is then the node and not the host.
if [[ ${3:-} != contained ]]; then
	enter_cgroups
	exec unshare --cgroup "${BASH_SOURCE[0]}" "$dir" "$layers" contained
fi

mount_disk() {
	local kept
	mkdir -p "$root/mnt/disk"
	mount -o loop "$dir/disk.img" "$root/mnt/disk"
	for kept in /etc /var/lib/ecsnode /var/lib/ecs; do
		mkdir -p "$root$kept"
		if [[ ! -e $root/mnt/disk/${kept##*/} ]]; then # as it is in the image of the machine
			cp -a "$root$kept" "$root/mnt/disk/${kept##*/}"
		fi
		mount --bind "$root/mnt/disk/${kept##*/}" "$root$kept"
	done
	sync -f "$root/mnt/disk"
	umount "$root/mnt/disk"
}

mount_dev() {
	local device image stream
	mount -t tmpfs -o mode=755,nosuid dev "$root/dev"
	for device in /dev/{null,zero,full,random,urandom,tty,fuse,loop*}; do
		if [[ -c $device || -b $device ]]; then
			cp -a "$device" "$root/dev/"
		fi
	done
	for image in "$dir"/volumes/*; do
		device=$(losetup --noheadings --output NAME --associated "$image")
		if [[ -n $device ]]; then
			cp -a "$device" "$root/dev/${image##*/}"
		fi
	done
	mkdir "$root/dev/pts" "$root/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
	mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
	for stream in 0:stdin 1:stdout 2:stderr; do
		ln -s "/proc/self/fd/${stream%:*}" "$root/dev/${stream#*:}"
	done
}

# The kernel is the host's: a node sets up its own network and nothing else.
mount_proc() {
	mount -t proc proc "$root/proc"
	mount --bind "$root/proc/sys" "$root/proc/sys"
	mount -o remount,bind,ro "$root/proc/sys"
	mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
	mount -o remount,bind,rw "$root/proc/sys/net"
	# A curl that asks the agent before it listens may meet itself on that port.
	echo 51678 >"$root/proc/sys/net/ipv4/ip_local_reserved_ports"
	if [[ -e $root/proc/sysrq-trigger ]]; then
		mount --bind /dev/null "$root/proc/sysrq-trigger"
	fi
	cp "$dir/boot_id" "$root/run/testnode/boot_id"
	mount --bind "$root/run/testnode/boot_id" "$root/proc/sys/kernel/random/boot_id"
}

mount_sys() {
	local class
	mount -t sysfs sysfs "$root/sys"
	if [[ ! -d $root/sys/class/dmi/id ]]; then # a host without DMI: no directory can be made in sysfs
		mkdir "$root/run/testnode/sys"
		mount -t sysfs sysfs "$root/run/testnode/sys"
		mount -t tmpfs -o mode=755 class "$root/sys/class"
		for class in "$root"/run/testnode/sys/class/*; do
			ln -s "/run/testnode/sys/class/${class##*/}" "$root/sys/class/"
		done
		mkdir -p "$root/sys/class/dmi/id"
	fi
	mount -t tmpfs -o mode=755 dmi "$root/sys/class/dmi/id"
	cp "$dir/board_asset_tag" "$root/sys/class/dmi/id/"
}

mount_cgroups() {
	local hierarchy group
	if [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; then
		mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
		return
	fi
	mount -t tmpfs -o mode=755 cgroup "$root/sys/fs/cgroup"
	for hierarchy in /sys/fs/cgroup/*/; do
		hierarchy=${hierarchy%/}
		group=${hierarchy##*/}
		if [[ -L $hierarchy ]]; then
			cp -a "$hierarchy" "$root/sys/fs/cgroup/"
			continue
		fi
		mkdir "$root/sys/fs/cgroup/$group"
		case $group in
		unified) mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/$group" ;;
		systemd) mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/$group" ;;
		*) mount -t cgroup -o "$group" cgroup "$root/sys/fs/cgroup/$group" ;;
		esac
	done
}

mount -t overlay overlay -o "lowerdir=$layers,upperdir=$dir/upper,workdir=$dir/work" "$root"
mount_disk
for kept in docker containerd; do # overlay2 does not work on an overlay
	mkdir -p "$root/var/lib/$kept"
	mount --bind "$dir/$kept" "$root/var/lib/$kept"
done
mount -t tmpfs -o mode=755,nosuid,nodev run "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmp "$root/tmp"
mkdir "$root/run/testnode"
if [[ -e $dir/user-data ]]; then
	cp "$dir/user-data" "$root/run/testnode/"
fi
mount_dev
mount_proc
mount_sys
mount_cgroups

laid=$([[ ! -e $dir/laid ]] || echo yes)
hostname "${dir##*/}"
mkdir -p "$root/mnt/host"
cd "$root"
pivot_root . mnt/host
umount -l /mnt/host
mount --make-rshared / # as systemd does it where it is not told that it runs in a container
if [[ $laid && ! -s /etc/machine-id ]]; then # the first boot: as the package's scriptlets would have done it
	mapfile -t units < <(cd /usr/lib/systemd/system && grep -l '^\[Install\]' ecsnode*.service)
	SYSTEMD_OFFLINE=1 systemctl --quiet enable "${units[@]}"
fi
exec env -i container=testnode PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 /lib/systemd/systemd
