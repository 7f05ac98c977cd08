#!/usr/bin/env bash
# Runs the cases in cases/, two at a time and beside them one that mostly waits for
# a clock, and prints what each took. Exits 0 only if all of them hold. Needs root and bin/ (make build). Nothing is ever skipped.
#
#   e2e.sh                  every case
#   e2e.sh CASE...          these, by the names of their files: e2e.sh reboot
#   e2e.sh --keep CASE...   leaves the nodes of failed cases until the next run,
#                           to look into with node.sh
#
# What is known of a case that failed is kept in .cache/e2e/CASE.log.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
readonly logs=$testnode/../../.cache/e2e
readonly limit=450 # seconds for a case
free=(0 1) beside=(2) # lanes in which no case runs
readonly lanes=3

# run_case runs case $1 in lane $2, in a process group of its own.
run_case() {
	local case=$1 shared=shared-$2-$run status=0 node began=${EPOCHREALTIME/[.,]/}
	local result=$scratch/$case log=$scratch/$case.log
	timeout --foreground "$limit" "$testnode/case.sh" "$testnode/cases/$case.sh" "$case-$run" "$shared" "$result" >"$log" 2>&1 </dev/null || status=$?
	if ((status == 124)); then
		echo "stopped after $limit s" >>"$log"
	fi
	node=$(cat "$result.node" 2>/dev/null || echo "$case-$run")
	if ((status != 0)); then
		explain "$node" >"$result.more" 2>&1 || true
	fi
	if ((status != 0 && keep)); then
		if [[ $node == "$shared" ]]; then
			touch "$scratch/kept-$2"
		fi
	elif ((status != 0)) || [[ $node != "$shared" ]]; then
		"$testnode/node.sh" rm "$node" >>"$log" 2>&1 || status=1
	fi
	echo "$status $(((${EPOCHREALTIME/[.,]/} - began) / 100000))" >"$result"
}

# explain prints what helps to find out why a case failed.
explain() {
	local on=(timeout 10 "$testnode/node.sh" exec "$1")
	echo "--- status"
	"${on[@]}" ecsnode status
	echo "--- units"
	"${on[@]}" systemctl --no-pager list-jobs
	"${on[@]}" systemctl --no-pager --failed
	echo "--- starts of ECS"
	"${on[@]}" sh -c 'head -v -n 50 /var/lib/testnode/ecs/*/environment'
	echo "--- files"
	"${on[@]}" sh -c 'head -v -n 50 /etc/ecs/ecs.config /etc/container_config/*'
	echo "--- journal, all boots"
	"${on[@]}" journalctl --no-pager -o short-precise
	echo "--- connections"
	"${on[@]}" ss -Htanp
	echo "--- calls of AWS"
	tail -n 50 "$work/$1/sim.calls"
	echo "--- console"
	tail -n 50 "$work/$1/console.log"
}

# leftovers prints what nodes of this run made outside of their directories.
leftovers() {
	ip netns list | grep -E -e "-$run(-aws)?( |\$)" || true
	find /sys/fs/cgroup -maxdepth 2 -type d -name "testnode-*-$run"
	losetup --list --noheadings --output NAME,BACK-FILE | grep -e "-$run/" || true
	grep -e "-$run/" /proc/self/mounts || true
}

# actions prints the actions of IAM in a text, each once.
actions() { grep -oE '"[a-z0-9]+:[A-Z][A-Za-z0-9]+"' | tr -d '"' | sort -u; }

# check_role compares what all nodes had to be allowed with the policy for every
# setting, and prints what is wrong. Go tests do the same, by resource; what only a
# machine calls is looked for here, if all cases have run.
check_role() {
	local policy asked
	policy=$("$testnode/../../bin/ecsnode" iam-policy --root "$testnode/../../agent/iam/testdata/everything" \
		--task-role arn:aws:iam::123456789012:role/x --key arn:aws:kms:eu-west-1:123456789012:key/x | actions)
	asked=$(actions <"$TESTNODE_ACTIONS")
	comm -13 <(echo "$policy") <(echo "$asked") | sed '/^$/d; s/$/ is called, and ecsnode iam-policy does not print it/'
	if [[ $1 == all ]]; then
		comm -23 <(echo autoscaling:SetInstanceHealth) <(echo "$asked") | sed 's/$/ is called by no case/'
	fi
}

# remove_nodes RUN... removes the nodes and the notes of these runs.
remove_nodes() {
	local of dir
	for of in "$@"; do
		rm -rf "$work/run-$of"
		for dir in "$work"/*-"$of"; do
			if [[ -d $dir ]]; then
				"$testnode/node.sh" rm "${dir##*/}" || true
			fi
		done
	done
}

# dead_runs prints the runs that left nodes and are no more.
dead_runs() {
	local dir of
	for dir in "$work"/*-*; do
		of=${dir##*-}
		if [[ $of =~ ^[0-9]+$ ]] && ! grep -qsF e2e.sh "/proc/$of/cmdline"; then
			echo "$of"
		fi
	done | sort -u
}

# end_cases RUN... ends what cases of these runs still do.
end_cases() {
	local of
	for of in "$@"; do
		pgrep -f "^bash $testnode/case.sh .*-$of " | xargs -r kill -KILL 2>/dev/null || true
	done
}

report() {
	local case=$1 status tenths name
	read -r status tenths <"$scratch/$case" || status=1 tenths=0
	name=$(sed -n 's/^# Name: *//p' "$testnode/cases/$case.sh")
	printf '%-4s  %3d.%d s  %-22s %s\n' "$( ((status)) && echo FAIL || echo ok)" $((tenths / 10)) $((tenths % 10)) "$case" "$name"
	rm -f "$logs/$case.log"
	sed -n 's/^figure: /      /p' "$scratch/$case.log"
	if ((status == 0)); then
		return
	fi
	failed+=("$case")
	tail -n 30 "$scratch/$case.log" | sed 's/^/      /'
	cat "$scratch/$case.log" "$scratch/$case.more" >"$logs/$case.log" 2>/dev/null || true
	echo "      more: .cache/e2e/$case.log"
}

# take_next takes a case that there is room for, as $case, and a lane for it, as
# $lane. Those that wait have a lane of their own, and the others' in the end.
take_next() {
	if ((${#waiting[@]} > 0 && ${#beside[@]} > 0)); then
		case=${waiting[0]} waiting=("${waiting[@]:1}")
		lane=${beside[0]} beside=("${beside[@]:1}")
		return
	fi
	((${#free[@]} > 0)) || return
	if ((${#working[@]} > 0)); then
		case=${working[0]} working=("${working[@]:1}")
	else
		((${#waiting[@]} > 0)) || return
		case=${waiting[0]} waiting=("${waiting[@]:1}")
	fi
	lane=${free[0]} free=("${free[@]:1}")
}

# reap waits for one case and frees its lane.
reap() {
	local pid
	wait -n -p pid "${!running[@]}" || true
	kill -KILL -- "-$pid" 2>/dev/null || true # what a case that was stopped left running
	report "${running[$pid]}"
	lane=${lane_of[$pid]}
	unset "running[$pid]" "lane_of[$pid]"
	if [[ -e $scratch/kept-$lane ]]; then # its node is left to be looked at
		rm "$scratch/kept-$lane"
		lane=$((lane + lanes))
	fi
	if ((lane % lanes == 2)); then
		beside+=("$lane")
	else
		free+=("$lane")
	fi
}

# in_order prints the cases, those that take long first.
in_order() {
	cd "$testnode/cases"
	{ grep -l '^# Takes: *long' -- *.sh; grep -L '^# Takes: *long' -- *.sh; } | sed 's/\.sh$//'
}

waits() { grep -q '^# Waits: *mostly' "$testnode/cases/$1.sh"; }

need_node_tools
keep=0
if [[ ${1:-} == --keep ]]; then
	keep=1
	shift
fi
cases=("$@")
for case in "${cases[@]}"; do
	[[ -f $testnode/cases/$case.sh ]] || die "there is no case $case"
done
which=some
if ((${#cases[@]} == 0)); then
	mapfile -t cases < <(in_order)
	which=all
fi

run=$$ failed=()
declare -A running=() lane_of=() # case and lane by pid, which is that of its process group too
readonly scratch=$work/run-$run
mkdir -p "$scratch" "$logs"
export TESTNODE_ACTIONS=$logs/actions
: >"$TESTNODE_ACTIONS"
cleanup() {
	local pid
	trap '' INT TERM
	trap - EXIT
	for pid in "${!running[@]}"; do
		kill -KILL -- "-$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	if ((!keep || ${#running[@]} > 0)); then
		remove_nodes "$run"
	fi
	rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mapfile -t dead < <(dead_runs)
end_cases "${dead[@]}"
remove_nodes "${dead[@]}"
began=$SECONDS
"$testnode/rootfs.sh" >/dev/null
if ((SECONDS - began > 2)); then
	echo "e2e: built the root filesystem in $((SECONDS - began)) s"
fi
working=() waiting=()
for case in "${cases[@]}"; do
	if waits "$case"; then
		waiting+=("$case")
	else
		working+=("$case")
	fi
done
began=$SECONDS
while true; do
	if take_next; then
		set -m
		run_case "$case" "$lane" &
		set +m
		running[$!]=$case lane_of[$!]=$lane
	elif ((${#running[@]} > 0)); then
		reap
	else
		break
	fi
done
if ((!keep)); then
	remove_nodes "$run"
	left=$(leftovers)
	if [[ -n $left ]]; then
		echo "e2e: left behind on this machine:" "$left" >&2
		failed+=(leftovers)
	fi
	wrong=$(check_role "$which")
	if [[ -n $wrong ]]; then
		echo "e2e: $wrong" >&2
		failed+=(iam-policy)
	fi
else
	echo "e2e: kept:" "$(cd "$work" && echo *-"$run")"
fi
echo "e2e: ${#cases[@]} cases, ${#failed[@]} failed, in $((SECONDS - began)) s"
if ((${#failed[@]} > 0)); then
	echo "e2e: failed: ${failed[*]}" >&2
	exit 1
fi
