#!/usr/bin/env bash
# Runs the tests with the race detector. Failures are shown in full, a skipped
# test in one line with its reason, and every package by go test's own line.
#
#   scripts/test.sh [ARGUMENT...]   arguments for go test; ./... if none is given
#   CI=true                         a skipped test, or no race detector, fails
#
# What talks to S3 is tested with a real server beside the simulator: s3server.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ $# -eq 0 ]]; then
	set -- ./...
	all=true
fi

report=$(mktemp)
trap 'rm -f "$report"' EXIT
go build -o "$report" ./scripts/testreport

read -ra cc < <(go env CC)
if "${cc[@]}" -E - <<<'#include <stdlib.h>' >/dev/null 2>&1; then
	export CGO_ENABLED=1
	set -- -race "$@"
elif [[ ${CI:-} == true ]]; then
	echo "test: cannot use the race detector: ${cc[*]} or the C library's headers are missing" >&2
	exit 1
else
	echo "test: skipping the race detector: ${cc[*]} or the C library's headers are missing"
fi
scripts/s3server.sh go test -timeout 20m -json "$@" | "$report"
if [[ ${all:-} == true ]]; then
	# Whole fleets, and days of whole nodes, which the race detector would keep busy
	# for many minutes: what stands in files that it does not build.
	mapfile -t unraced < <(git grep -l '^//go:build !race$' -- '*_test.go')
	tests=$(grep -hoE '^func Test[A-Za-z0-9_]+' "${unraced[@]}" | cut -c6- | paste -sd'|')
	dirs=$(printf './%s\n' "${unraced[@]%/*}" | sort -u)
	# shellcheck disable=SC2086 # one argument for each directory
	CGO_ENABLED=0 go test -timeout 20m -json -run "^($tests)\$" $dirs | "$report"
fi
