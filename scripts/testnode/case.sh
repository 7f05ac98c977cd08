#!/usr/bin/env bash
# Runs one case: case.sh FILE NODE SHARED-NODE RESULT, for e2e.sh. NODE is the
# name of the node that the case may make for itself; which node it used is
# written to RESULT.node.
set -Eeuo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck disable=SC2034 # for steps.sh
readonly case=$1 own_node=$2 shared_node=$3 result=$4
# shellcheck source-path=SCRIPTDIR
. "$testnode/steps.sh"

# tell prints the line of the case that did not hold.
tell() {
	local frame line=$1
	for frame in "${!BASH_SOURCE[@]}"; do
		if [[ ${BASH_SOURCE[frame]} == "$case" ]]; then
			line=${BASH_LINENO[frame - 1]}
			break
		fi
	done
	echo "${case##*/}:$line: does not hold: $(sed -n "${line}p" "$case")" >&2
}
trap '((BASH_SUBSHELL > 0)) || tell "$LINENO"' ERR

# shellcheck source=/dev/null
. "$case"
