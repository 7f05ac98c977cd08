#!/usr/bin/env bash
# What the machine of a node does: boots it, and boots it again after a reboot.
# Started by node.sh, in the background; it ends with the node.
#
#   machine.sh NAME LAYERS   the layers of its root, as overlayfs takes them
#   machine.sh NAME          only removes what a machine that was killed left behind
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
name=$1 layers=${2:-}
dir=$work/$name

groups() { find /sys/fs/cgroup -maxdepth 2 -type d -name "testnode-$name"; }
no_group_left() {
	local group
	groups | while read -r group; do
		find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
	done
	[[ -z $(groups) ]]
}
disk_is_free() { [[ -z $(losetup --associated "$dir/disk.img") ]]; }

# plug gives the node a network of its own whose one cable leads to the
# simulator's, which serves instance metadata and lets nothing through.
plug() {
	local node=testnode-$name sim=testnode-$name-aws
	ip -n "$sim" link delete eth0 2>/dev/null || true
	ip netns delete "$node" 2>/dev/null || true
	ip netns add "$node"
	ip -n "$node" link add eth0 type veth peer name eth0 netns "$sim"
	ip -n "$sim" link set eth0 up
	ip -n "$sim" route add 10.0.0.10/32 dev eth0
	ip -n "$node" link set lo up
	ip -n "$node" address add 10.0.0.10/24 dev eth0
	ip -n "$node" link set eth0 up
	ip -n "$node" route add default via 10.0.0.1
	ip -n "$node" route add 169.254.169.254/32 dev eth0
	if [[ -e /proc/sys/net/ipv6 ]]; then
		ip -n "$sim" address add fd00:10::1/64 dev eth0 nodad
		ip -n "$node" address add fd00:10::10/64 dev eth0 nodad
		ip -n "$node" route add fd00:ec2::254/128 via fd00:10::1
	fi
}

# boot is run in a process of its own, which becomes the node's parent.
boot() {
	cat /proc/sys/kernel/random/uuid >"$dir/boot_id"
	exec nsenter --net="/run/netns/testnode-$name" \
		unshare --mount --uts --ipc --pid --fork --kill-child --propagation private \
		"$testnode/pid1.sh" "$dir" "$layers"
}

# unplug removes all that the machine made outside of its directory.
unplug() {
	ip -n "testnode-$name-aws" link delete eth0 2>/dev/null || true
	ip netns delete "testnode-$name" 2>/dev/null || true
	await 10 no_group_left || echo "machine: cgroups of $name stay behind" >&2
	await 10 disk_is_free || echo "machine: the disk of $name stays in use" >&2
}
trap unplug EXIT
[[ -n $layers ]] || exit 0

readonly rebooted=129 # SIGHUP: how a PID namespace tells of reboot(2)
status=$rebooted
while ((status == rebooted)); do
	plug
	boot &
	echo "$!" >"$dir/boot.pid"
	status=0
	wait "$!" || status=$?
	await 10 no_group_left || true
	await 10 disk_is_free || break # mounted twice it would be destroyed
done
