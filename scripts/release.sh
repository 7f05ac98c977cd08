#!/usr/bin/env bash
# Builds what a release has into dist/release: packages and binaries for x86_64
# and arm64, a bill of materials for each binary, and checksums of all. It is
# built twice, the second time from a copy of the sources in another directory,
# and is a release only if both gave the same bytes.
#
#   VERSION, SOURCE_DATE_EPOCH   as for scripts/packages.sh
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VERSION=${VERSION:-$(GIT_OPTIONAL_LOCKS=0 git describe --tags --match 'v*' --always --dirty --abbrev=12 2>/dev/null || echo devel)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(GIT_OPTIONAL_LOCKS=0 git log -1 --format=%ct 2>/dev/null || echo 0)}
export VERSION SOURCE_DATE_EPOCH

# build SOURCES DIRECTORY builds all of it from a directory of sources.
build() {
	local arch sum
	(
		cd "$1"
		DIST=$2 BINARIES=true scripts/packages.sh
		for arch in amd64 arm64; do
			go run ./scripts/sbom "$2/ecsnode-linux-$arch" ecsnode "$VERSION" >"$2/ecsnode-linux-$arch.cdx.json"
		done
		cd "$2"
		sum=$(sha256sum -- *)
		echo "$sum" >SHA256SUMS
	)
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/first" "$work/second" "$work/copy"
build . "$work/first"
tar -c --exclude=./bin --exclude=./dist --exclude=./.cache . | tar -x -C "$work/copy"
# What may differ between two machines must not show.
(umask 077 && TZ=Pacific/Chatham LC_ALL=C build "$work/copy" "$work/second") >/dev/null
diff "$work/first/SHA256SUMS" "$work/second/SHA256SUMS" || {
	echo "release: two builds differ: there is no release" >&2
	exit 1
}
mkdir -p dist
rm -rf dist/release
mv "$work/first" dist/release
chmod 755 dist/release
echo "release: two builds are the same:"
cat dist/release/SHA256SUMS
