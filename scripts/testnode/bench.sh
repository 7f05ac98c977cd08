#!/usr/bin/env bash
# Measures on a real node what ecsnode adds to a boot in which nothing is to be
# upgraded, how long ECS is away when Docker is restarted, how soon a notice of
# EC2's becomes a call of ECS, how soon a node task that has died is started
# again, and how soon a bundle of settings is in effect. Needs root and bin/ (make build). Exits 1 if a budget is not kept.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
readonly times=7
need_node_tools
node=bench$$ # not as the nodes of e2e.sh are named, which removes those of dead runs
trap '"$testnode/node.sh" rm "$node" >/dev/null 2>&1' EXIT
on() { "$testnode/node.sh" exec "$node" "$@"; }
# shellcheck disable=SC2317 # called by await
registered() { on curl -fsS --max-time 1 http://localhost:51678/v1/metadata; }
median() { sort -n | sed -n "$((times / 2 + 1))p"; }

# took UNIT prints the milliseconds from the start of a oneshot unit to its end.
took() {
	local began ended
	began=$(on systemctl show "$1" --property InactiveExitTimestampMonotonic --value)
	ended=$(on systemctl show "$1" --property ActiveEnterTimestampMonotonic --value)
	((ended > 0)) || die "$1 has not ended well: $(on systemctl status --no-pager "$1")"
	echo $(((ended - began) / 1000))
}

"$testnode/node.sh" create "$node"
"$testnode/node.sh" put "$node" /etc/ecsnode/ecsnode.yaml <<<"cluster: '{{ tag \"cluster\" }}'"
: >"$work/$node/early"
: >"$work/$node/boot"
for ((i = 0; i < times; i++)); do
	"$testnode/node.sh" start "$node"
	await 30 registered || die "the node does not register"
	took ecsnode-early.service >>"$work/$node/early"
	took ecsnode-boot.service >>"$work/$node/boot"
	if ((i < times - 1)); then
		"$testnode/node.sh" poweroff "$node"
	fi
done
# PartOf= restarts ECS along with Docker; its start asks ecsnode ready identity.
for ((i = 0; i < times; i++)); do
	sleep 25 # away from Docker's limit of starts
	began=${EPOCHREALTIME/[.,]/}
	on systemctl restart docker
	await 30 registered || die "the node does not register after a restart of Docker"
	echo $(((${EPOCHREALTIME/[.,]/} - began) / 1000))
done >"$work/$node/restart"

# How long a Spot notice takes to become a call of ECS. The time begins before
# the simulator is told, and ends when the call has reached it.
readonly trials=50
sim() { "$testnode/node.sh" sim "$node" "$@"; }
asked_at() { # in microseconds
	local at
	at=$(sim GET 'calls?match=ecs/UpdateContainerInstancesState' | sed -n 's/^\[{"time":"\([^"]*\)".*/\1/p')
	[[ -n $at ]] && date -d "$at" +%s%6N
}
# shellcheck disable=SC2317 # called by await
is_active() { [[ $(sim GET state) =~ \"container_instance\":\{[^}]*\"status\":\"ACTIVE\" ]]; }
sim POST apply '{lifecycle: spot}'
sleep 10
: >"$work/$node/notice"
for ((i = 0; i < trials; i++)); do
	sleep "0.$((RANDOM % 900 + 100))"
	sim DELETE calls
	began=${EPOCHREALTIME/[.,]/}
	sim POST apply '{spot_interruption: {action: terminate, in: 120s}}'
	await 10 asked_at || die "ECS is not asked after a notice"
	echo $((($(asked_at) - began) / 1000)) >>"$work/$node/notice"
	sim POST apply '{spot_interruption: {action: ""}}'
	await 30 is_active || die "the drain is not undone"
done

# How long after its container has died a node task is asked for again, and
# runs again. Each trial begins as after a healthy hour: nothing is remembered.
readonly deaths=20
container() { on docker ps --quiet --filter label=com.amazonaws.ecs.task-definition-family=logspout; }
# shellcheck disable=SC2317 # called by await
runs_well() { [[ -n $(container) ]] && on ecsnode status --json | grep -q '"state": "running"'; }
# shellcheck disable=SC2317 # called by await
another_runs() { [[ -n $(container) && $(container) != "$died" ]]; }
# shellcheck disable=SC2317 # called by await
started_at() {
	local at
	at=$(sim GET 'calls?match=ecs/StartTask' | sed -n 's/^\[{"time":"\([^"]*\)".*/\1/p')
	[[ -n $at ]] && date -d "$at" +%s%6N
}
of_container() { date -d "$(on docker inspect --format "{{.State.$2}}" "$1")" +%s%6N; }
sim POST apply '{lifecycle: on-demand, task_definitions: [{family: logspout}]}'
on install -D -m 644 /dev/stdin /etc/ecsnode/conf.d/50-bench.yaml <<<'node_tasks: {tasks: {logspout: {task_definition: "logspout:1"}}}'
: >"$work/$node/asked"
: >"$work/$node/again"
for ((i = 0; i < deaths; i++)); do
	on systemctl stop ecsnode.service
	on rm -f /var/lib/ecsnode/nodetasks.json
	on systemctl start ecsnode.service
	await 20 runs_well || die "the node task does not run"
	sim DELETE calls
	died=$(container)
	on docker kill "$died" >/dev/null
	await 10 started_at >/dev/null || die "the node task is not started again"
	await 20 another_runs || die "the node task does not run again"
	echo $((($(started_at) - $(of_container "$died" FinishedAt)) / 1000)) >>"$work/$node/asked"
	echo $((($(of_container "$(container)" StartedAt) - $(of_container "$died" FinishedAt)) / 1000)) >>"$work/$node/again"
done

# How long a bundle of 200 files, each time another one, takes from the request to
# its effect: downloaded, verified, unpacked, tried and switched to.
readonly pulls=15
ecsnode=$testnode/../../bin/ecsnode
"$ecsnode" bundle keygen --no-password "$work/$node/bench.key" >/dev/null
on install -D -m 644 /dev/stdin /etc/ecsnode/conf.d/60-bench.yaml <<-END
	bundle: {source: s3://acme-config/nodes, keys: [$(tail -n 1 "$work/$node/bench.key.pub")], watch: 0s}
END
sim POST apply '{buckets: [{name: acme-config}]}'
install -D -m 644 /dev/stdin "$work/$node/bundle/ecsnode.yaml" <<<'files: {splay: 0s, items: {/etc/bench.motd: {source: "1"}}}'
mkdir "$work/$node/bundle/files"
: >"$work/$node/pulled"
for ((i = 0; i < pulls; i++)); do
	for file in {1..200}; do
		printf "$i $file %.0s" {1..500} >"$work/$node/bundle/files/$file" # some 4 KB
	done
	nsenter --net="/run/netns/testnode-$node-aws" env AWS_ENDPOINT_URL=http://10.0.0.1:8080 \
		"$ecsnode" bundle push s3://acme-config/nodes "$work/$node/bundle" --key "$work/$node/bench.key" --percent 100 --force >/dev/null
	was=$(on readlink /var/lib/ecsnode/bundles/active || true)
	began=${EPOCHREALTIME/[.,]/}
	on ecsnode bundle pull >/dev/null
	echo $(((${EPOCHREALTIME/[.,]/} - began) / 1000)) >>"$work/$node/pulled"
	[[ $(on readlink /var/lib/ecsnode/bundles/active) != "$was" ]] || die "another bundle is not in effect after ecsnode bundle pull"
done

status=0
row() { # WHAT FILE BUDGET
	local got
	got=$(median <"$work/$node/$2")
	printf '%-58s %6s ms   %s\n' "$1" "$got" "${3:+budget $3 ms}"
	if [[ -n ${3:-} ]] && ((got > $3)); then
		status=1
	fi
}
row_of_trials() { # WHAT FILE TRIALS MEDIAN LONGEST
	local middle most
	middle=$(sort -n "$work/$node/$2" | sed -n "$(($3 / 2))p")
	most=$(sort -n "$work/$node/$2" | tail -n 1)
	printf '%-58s %6s ms   budget %s ms\n' "$1, median of $3" "$middle" "$4"
	printf '%-58s %6s ms   budget %s ms\n' "the same, longest" "$most" "$5"
	if ((middle > $4 || most > $5)); then
		status=1
	fi
}
echo "median of $times on a node with systemd:"
row "ecsnode-boot, nothing to upgrade" boot 250
row "ecsnode-early, no volume" early
row "restart of Docker until ECS is active and registered" restart
row_of_trials "Spot notice to UpdateContainerInstancesState" notice "$trials" 300 700
row_of_trials "a node task has died to StartTask" asked "$deaths" 250 1000
printf '%-58s %6s ms\n' "the same until it runs again, median" "$(sort -n "$work/$node/again" | sed -n "$((deaths / 2))p")"
row_of_trials "a bundle of 200 files, from the request to its effect" pulled "$pulls" 1000 1000
exit "$status"
