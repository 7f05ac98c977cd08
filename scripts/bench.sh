#!/usr/bin/env bash
# Measures what bin/ecsnode costs and prints each figure beside its budget, then
# what the binary's bytes are spent on. Takes about twelve minutes.
#
# Where ansible-playbook is installed (Debian: apt-get install ansible-core) the
# same job is measured with it in the same run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

go run ./scripts/bench bin/ecsnode
# pass WHAT PACKAGE BENCHMARK BUDGET prints the CPU of one pass, in milliseconds.
pass() {
	local cpu
	cpu=$(go test "$2" -run '^$' -bench "^$3\$" | sed -n 's|.* \([0-9.]*\) cpu-ms/op.*|\1|p')
	printf '%-58s %11s ms   budget %s.0 ms\n' "$1, CPU" "$cpu" "$4"
	((${cpu%.*} < $4))
}
pass "pass of the node tasks over 300 containers" ./agent/node BenchmarkPassOver300Containers 30
pass "pass over 1000 files, nothing changed" ./agent/duties/files BenchmarkPassOver1000Files 150
pass "pass over 20 schedules, none due" ./agent/duties/schedules BenchmarkPassOver20Schedules 2
pass "pass over 1000 schedules, none due" ./agent/duties/schedules BenchmarkPassOver1000Schedules 40
pass "1000 schedules due at once, begun and cleared up after" ./agent/duties/schedules Benchmark1000SchedulesDueAtOnce 400
echo
go test ./agent/duties/bundle -count=1 -v -run '^TestAFleetAsksEvenly$' | grep -E 'a second|splay|FAIL'
echo
if ((EUID == 0)); then
	scripts/testnode/bench.sh
else
	echo "not measured without root: boot on a real node"
fi
echo
scripts/size.sh bin/ecsnode
