#!/usr/bin/env bash
# A node without a cloud, on any Linux with root: systemd as PID 1, D-Bus, Docker,
# dnf, stand-ins for cloud-init and the ECS agent, ecsnode installed, and a
# simulated AWS at 169.254.169.254. Nothing on it reaches beyond its namespaces.
#
#   node.sh create NAME         a new instance and its AWS; it is off
#   node.sh create NAME bare    the same without ecsnode
#   node.sh create NAME of NODE a new instance of an image of NODE, which is off and as it is now
#   node.sh put NAME PATH       before the first start: standard input becomes that file
#   node.sh user-data NAME      standard input becomes the user data of the instance
#   node.sh start NAME          power on; returns when systemd answers
#   node.sh exec NAME COMMAND   run a command on it
#   node.sh sim NAME METHOD PATH [BODY]   ask the simulator's control API; see: sim NAME GET ""
#   node.sh attach NAME DEVICE SIZE   the volume /dev/DEVICE, blank or as it was before; larger than before, it has grown
#   node.sh detach NAME DEVICE
#   node.sh poweroff NAME       orderly, as systemctl poweroff does it
#   node.sh cut NAME            cut the power: what was not synced to its disk is lost
#   node.sh reboot NAME         orderly; returns when systemd answers again
#   node.sh rm NAME             remove it, running or not, and all that was made for it
#
# A node keeps its files until rm. /etc, /var/lib/ecsnode and /var/lib/ecs are on
# a disk of their own, which a power cut hits. boot_id, /run, /tmp and the network
# are new in each boot. `systemctl reboot` and `systemctl poweroff` on it do what
# they say. The kernel, its clock and its loop devices are the host's.
#
#   TESTNODE_DIR     where nodes are kept (/var/tmp/ecsnode-testnode)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
umask 022

# runs tells whether the process of $1.pid is ours still: it has the argument $2.
runs() { [[ -s $dir/$1.pid ]] && grep -qszFx -e "$2" "/proc/$(cat "$dir/$1.pid")/cmdline"; }

# leader prints the host's pid of the node's PID 1.
leader() {
	local children
	runs boot "$dir" && children=$(cat "/proc/$(cat "$dir/boot.pid")/task/"*/children 2>/dev/null) || return 1
	[[ -n $children ]] && echo "${children%% *}"
}

is_off() { ! runs machine "$name" && ! leader >/dev/null; }
is_on() { ! is_off; }
answers() { [[ $("$0" exec "$name" systemctl is-system-running 2>/dev/null) =~ ^(starting|running|degraded)$ ]]; }
off_or_answers() { is_off || answers; }

create() {
	[[ ! -e $dir ]] || die "there is a node $name already"
	"$testnode/rootfs.sh" >/dev/null
	trap 'remove || true' EXIT
	mkdir -p "$dir"/{layer,upper,work,root,docker,containerd}
	case ${1:-} in
	'')
		install -D -t "$dir/layer/usr/bin" "$testnode/../../bin/ecsnode"
		install_units
		touch "$dir/laid" # no package has enabled them
		;;
	bare) ;;
	of) take_image "$2" ;;
	*) die "no kind of node: $1" ;;
	esac
	echo i-0123456789abcdef0 >"$dir/board_asset_tag" # the simulator's instance
	start_sim
	trap - EXIT
}

# take_image copies all that is on the disks of a node, as an image of it has it.
take_image() {
	local of=$work/$1 part
	[[ -e $of/disk.img && $1 != "$name" ]] || die "there is no node $1 that was on"
	! name=$1 dir=$of is_on || die "$1 is on"
	for part in layer upper docker containerd disk.img laid; do
		[[ ! -e $of/$part ]] || cp -a --reflink=auto --sparse=always "$of/$part" "$dir/"
	done
}

# install_units puts the units, and the drop-in of logind, where packages have theirs.
install_units() {
	local file to=$dir/layer/usr/lib/systemd
	(cd "$testnode/../../systemd" && find . -name '*.service' -o -name '*.conf') | while read -r file; do
		case $file in
		./logind.conf.d/*) install -D -m 644 "$testnode/../../systemd/$file" "$to/$file" ;;
		*) install -D -m 644 "$testnode/../../systemd/$file" "$to/system/$file" ;;
		esac
	done
}

# start_sim starts the simulator where the node's cable leads to.
start_sim() {
	local netns=testnode-$name-aws address
	ip netns add "$netns"
	ip -n "$netns" link set lo up
	for address in 10.0.0.1/32 169.254.169.254/32; do
		ip -n "$netns" address add "$address" dev lo
	done
	if [[ -e /proc/sys/net/ipv6 ]]; then
		ip -n "$netns" address add fd00:ec2::254/128 dev lo
	fi
	setsid nsenter --net="/run/netns/$netns" "$testnode/../../bin/ecsnode-sim" \
		--listen '' --imds :80 --aws 10.0.0.1:8080 --introspection 10.0.0.1:51678 --control 10.0.0.1:1338 \
		--ready-file "$dir/sim.ready" --log "$dir/sim.calls" </dev/null >"$dir/sim.log" 2>&1 &
	await 10 test -s "$dir/sim.ready" || die "the simulator does not start: $(cat "$dir/sim.log")"
}

put() {
	[[ ! -e $dir/disk.img ]] || die "$name was on already: write with exec"
	install -D -m 644 /dev/stdin "$dir/layer/$1"
}

# attach keeps the volume in the file volumes/DEVICE; it is there in every boot
# until it is detached.
attach() {
	local image=$dir/volumes/$1 loop
	mkdir -p "$dir/volumes"
	truncate --size "$2" "$image"
	loop=$(losetup --noheadings --output NAME --associated "$image")
	if [[ -n $loop ]]; then
		losetup --set-capacity "$loop"
		return
	fi
	loop=$(losetup --find --show "$image")
	if ! is_off; then
		"$0" exec "$name" mknod "/dev/$1" b "$(stat -c %Hr "$loop")" "$(stat -c %Lr "$loop")"
	fi
}

detach() {
	losetup --noheadings --output NAME --associated "$dir/volumes/$1" | xargs -r -n 1 losetup --detach
	is_off || "$0" exec "$name" rm -f "/dev/$1"
}

start() {
	local layers
	is_off || die "$name is on"
	layers=$("$testnode/rootfs.sh")
	if [[ ! -e $dir/disk.img ]]; then
		mkfs.ext4 -q "$dir/disk.img" 64M >/dev/null
	fi
	rm -f "$dir/boot.pid"
	setsid "$testnode/machine.sh" "$name" "$dir/layer:$layers" </dev/null >>"$dir/console.log" 2>&1 &
	echo "$!" >"$dir/machine.pid"
	await 60 off_or_answers || die "$name does not boot: $(tail -n 20 "$dir/console.log")"
	! is_off || die "$name went off while it booted: $(tail -n 20 "$dir/console.log")"
}

poweroff() {
	"$0" exec "$name" systemctl poweroff || true # it may be off before it answers
	await 120 is_off || die "$name does not power off"
}

reboot() {
	local before
	before=$(cat "$dir/boot_id")
	"$0" exec "$name" systemctl reboot || true
	await 120 another_boot_than "$before" || die "$name does not reboot"
	await 60 answers || die "$name does not boot again: $(tail -n 20 "$dir/console.log")"
}
another_boot_than() { [[ $(cat "$dir/boot_id") != "$1" ]]; }

# kill_node ends the node at once, whatever it is doing.
kill_node() {
	local pid deadline=$((SECONDS + 20))
	until is_off; do
		((SECONDS < deadline)) || die "$name cannot be ended"
		if pid=$(leader); then
			kill -KILL "$pid" 2>/dev/null || true
		fi
		sleep 0.05
	done
}

# cut takes the disk as it is at one instant: if the copy equals the disk after
# it was made, each block of it was there between copying and comparing.
cut() {
	! is_off || die "$name is off"
	until cp --sparse=always "$dir/disk.img" "$dir/disk.cut" && cmp -s "$dir/disk.img" "$dir/disk.cut"; do :; done
	kill_node
	mv "$dir/disk.cut" "$dir/disk.img"
}

remove() {
	local image
	kill_node
	"$testnode/machine.sh" "$name"
	if [[ -e /run/netns/testnode-$name-aws ]]; then
		ip netns pids "testnode-$name-aws" | xargs -r kill 2>/dev/null || true
		ip netns delete "testnode-$name-aws"
	fi
	for image in "$dir"/volumes/*; do
		[[ ! -e $image ]] || detach "${image##*/}"
	done
	# What the node had to be allowed, for e2e.sh.
	if [[ -n ${TESTNODE_ACTIONS:-} && -e $dir/sim.calls ]]; then
		{ grep -o '"action":"[^"]*"' "$dir/sim.calls" || true; } | sort -u >>"$TESTNODE_ACTIONS"
	fi
	rm -rf --one-file-system "$dir"
}

# execute enters the node once it has a root of its own: before that a command
# would meet the host. A shell waits for the command and not nsenter, which stops
# along with it: systemd stops all processes at the end of a reboot, and whoever then
# does not see his own end keeps the node from it.
execute() {
	local pid
	pid=$(leader) || die "$name is off"
	[[ -e /proc/$pid/root/run/testnode/boot_id ]] || die "$name has no root yet"
	# shellcheck disable=SC2016 # expanded by that shell
	exec nsenter --no-fork -t "$pid" -a /bin/sh -c '"$@"; exit "$?"' sh env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
		AWS_ENDPOINT_URL=http://10.0.0.1:8080 "$@"
}

ask_sim() {
	local body=()
	[[ $# -lt 3 ]] || body=(--data-binary "$3")
	nsenter --net="/run/netns/testnode-$name-aws" curl -sS --fail-with-body --noproxy '*' -X "$1" "${body[@]}" "http://10.0.0.1:1338/_sim/$2"
}

[[ $# -ge 2 ]] || die "usage: node.sh create|put|user-data|start|exec|sim|attach|detach|poweroff|reboot|cut|rm NAME [ARGUMENT...]; see the top of this file"
command=$1 name=$2
shift 2
[[ $name =~ ^[a-z0-9-]{1,48}$ ]] || die "no name for a node: $name"
need_node_tools
dir=$work/$name
[[ $command == create || $command == rm || -d $dir ]] || die "there is no node $name"
case $command in
create) create "$@" ;;
put) put "$1" ;;
user-data) cat >"$dir/user-data" ;;
start) start ;;
exec) execute "$@" ;;
sim) ask_sim "$@" ;;
attach) attach "$1" "$2" ;;
detach) detach "$1" ;;
poweroff) poweroff ;;
reboot) reboot ;;
cut) cut ;;
rm) remove ;;
*) die "unknown command: $command" ;;
esac
