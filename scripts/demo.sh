#!/usr/bin/env bash
# The main job as a story, against the simulator in a scratch directory: no root,
# no Docker, no cloud. Exits 0 only if each step was really observed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=$PWD/bin
dir=$(mktemp -d)
root=$dir/node
pids=()
cleanup() {
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$dir"
}
trap cleanup EXIT

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
	bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
else
	bold='' dim='' plain=''
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() {
	local line=$*
	line=${line//$root/\$NODE}
	printf '%s$ %s%s\n' "$dim" "${line//$bin\//}" "$plain"
	"$@" 2>&1 | sed -e "s|$root|\$NODE|g" -e 's/^/  /'
}
fail() {
	echo "demo: $*" >&2
	echo "demo: the log of ecsnode:" >&2
	cat "$dir/ecsnode.log" >&2
	exit 1
}
# await SECONDS WHAT COMMAND...: until the command succeeds
await() {
	local deadline=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) || fail "not observed: $what"
		sleep 0.05
	done
}
# control METHOD PATH [BODY]: one request of the simulator's control API
control() {
	exec 3<>"/dev/tcp/127.0.0.1/$port"
	printf '%s /_sim/%s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s' "$1" "$2" "$(printf %s "${3:-}" | wc -c)" "${3:-}" >&3
	local answer
	answer=$(cat <&3)
	exec 3<&- 3>&-
	[[ $answer == HTTP/1.?\ 20* ]] || fail "the simulator refused $1 $2: $answer"
}
has() { grep -qx "$1" "$root/etc/container_config/node.config"; }
agent() { "$bin/ecsnode" --root "$root" "$@"; }
is() { { agent status --json || true; } | grep -A 2 "\"name\": \"$1\"" | grep -q "\"state\": \"$2\""; }

say "1. A new instance in EC2, tagged env=prod and cluster=web"
"$bin/ecsnode-sim" --listen 127.0.0.1:0 --ready-file "$dir/ready" --env-file "$dir/env" >"$dir/sim.log" 2>&1 &
pids+=($!)
await 10 "the simulator listens" test -s "$dir/ready"
# shellcheck source=/dev/null
. "$dir/env"
port=${AWS_EC2_METADATA_SERVICE_ENDPOINT##*:}
mkdir -p "$root/etc/ecsnode" "$root/sys/class/dmi/id"
echo i-0123456789abcdef0 >"$root/sys/class/dmi/id/board_asset_tag"
cat >"$root/etc/ecsnode/ecsnode.yaml" <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
show cat "$root/etc/ecsnode/ecsnode.yaml"

say "2. Its ECS agent would not be let in yet: the node does not know what it is"
! show "$bin/ecsnode" ready identity --root "$root" || fail "ready before anything ran"

say "3. ecsnode starts"
"$bin/ecsnode" run --root "$root" 2>"$dir/ecsnode.log" &
pids+=($!)
await 10 "node.config appears" has "MY_ENVIRONMENT='prod'"
await 10 "the identity is established" agent ready identity
show cat "$root/etc/container_config/node.config"
show cat "$root/etc/ecs/ecs.config"
await 10 "all duties are well" agent status
show "$bin/ecsnode" status --root "$root"

say "4. A container sources node.config and learns where it runs"
# shellcheck disable=SC2016
greeting='. "$1"; echo "I run in $MY_ENVIRONMENT, cluster $NODE_CLUSTER, $NODE_REGION"'
show sh -c "$greeting" sh "$root/etc/container_config/node.config"
[[ $(sh -c "$greeting" sh "$root/etc/container_config/node.config") == "I run in prod, cluster web, eu-west-1" ]] ||
	fail "node.config did not tell what it should"

say "5. The tag env becomes staging, and the file follows"
control PUT tags/env staging
await 15 "node.config follows the tag" has "MY_ENVIRONMENT='staging'"
show grep MY_ENVIRONMENT "$root/etc/container_config/node.config"

say "6. Instance metadata falls ill: the last good file stays, and status says so"
before=$(cksum <"$root/etc/container_config/node.config")
control PUT faults/imds '{"kind": "status", "status": 503}'
await 15 "status tells that metadata is ill" is instance failing
! show "$bin/ecsnode" status --root "$root" || fail "status exits 0 though metadata is ill"
[[ $(cksum <"$root/etc/container_config/node.config") == "$before" ]] || fail "the last good file did not stay"

say "7. It gets well again, and so does the status"
control DELETE faults
await 60 "all duties are well again" agent status
show "$bin/ecsnode" status --root "$root"

say "All seven steps were observed. The node was a directory, and it is gone now."
