# shellcheck shell=bash
# shellcheck disable=SC2034 # what is not used here is used by those who read this
# What the scripts of testnode share: where things are, and how they refuse.

testnode=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly testnode
readonly cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ecsnode/testnode
readonly work=${TESTNODE_DIR:-/var/tmp/ecsnode-testnode}

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# need_root_and COMMAND=PACKAGE... refuses unless root runs this and each command is there.
need_root_and() {
	local pair lacking=()
	((EUID == 0)) || die "needs root: it makes namespaces, mounts and loop devices"
	for pair in "$@"; do
		command -v "${pair%=*}" >/dev/null || lacking+=("${pair#*=}")
	done
	((${#lacking[@]} == 0)) || die "missing: apt-get update && apt-get install -y $(printf '%s\n' "${lacking[@]}" | sort -u | xargs)"
}

need_node_tools() {
	need_root_and pgrep=procps unshare=util-linux nsenter=util-linux losetup=util-linux flock=util-linux mount=mount \
		ip=iproute2 mkfs.ext4=e2fsprogs curl=curl cmp=diffutils find=findutils
	[[ -e /dev/loop-control ]] || die "this kernel has no loop devices: modprobe loop"
	[[ -x $testnode/../../bin/ecsnode && -x $testnode/../../bin/ecsnode-sim ]] || die "there is no bin/ecsnode or bin/ecsnode-sim: make build"
}

# await SECONDS COMMAND... tells whether the command succeeds within that time.
await() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS <= deadline)) || return 1
		sleep 0.1
	done
}
