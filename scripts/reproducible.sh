#!/usr/bin/env bash
# Builds a copy of the sources in another directory and compares the binaries
# with those in bin: the same sources and the same Go must give the same bytes.
#
#   scripts/reproducible.sh           compiled packages are taken from Go's cache
#   scripts/reproducible.sh --fresh   everything is compiled again (minutes)
#
#   VERSION   the version to build in, if it was given to make build too
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
if [[ ${1:-} == --fresh ]]; then
	export GOCACHE=$copy/cache
fi
mkdir "$copy/src"
tar -c --exclude=./bin --exclude=./dist --exclude=./.cache . | tar -x -C "$copy/src"
make --silent -C "$copy/src" build

status=0
for built in "$copy"/src/bin/*; do
	name=bin/${built##*/}
	if cmp "$name" "$built"; then
		echo "reproducible: $name $(sha256sum <"$name" | cut -d ' ' -f 1)"
	else
		status=1
	fi
done
exit "$status"
