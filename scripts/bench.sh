#!/usr/bin/env bash
# Measures what bin/ecsnode costs and prints each figure beside its budget, then
# what the binary's bytes are spent on. Takes about eleven minutes.
#
# Where ansible-playbook is installed (Debian: apt-get install ansible-core) the
# same job is measured with it in the same run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

go run ./scripts/bench bin/ecsnode
pass=$(go test ./agent/node -run '^$' -bench PassOver300Containers | sed -n 's|.* \([0-9.]*\) cpu-ms/op.*|\1|p')
printf '%-58s %11s ms   budget 30.0 ms\n' "pass of the node tasks over 300 containers, CPU" "$pass"
[[ ${pass%.*} -lt 30 ]]
echo
if ((EUID == 0)); then
	scripts/testnode/bench.sh
else
	echo "not measured without root: boot on a real node"
fi
echo
scripts/size.sh bin/ecsnode
