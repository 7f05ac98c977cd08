#!/usr/bin/env bash
# Builds the RPM for each architecture into dist/: the binary, units, man pages
# and completions. The same sources and the same Go give the same bytes.
#
#   scripts/packages.sh [GOARCH...]   amd64 and arm64 if none is named
#
#   VERSION             as for make: what git describe says, vMAJOR.MINOR.PATCH[-REST]
#   DIST                where to; otherwise dist
#   BINARIES            true: the binaries are put there too
#   SOURCE_DATE_EPOCH   the time stamp in the packages; otherwise that of the commit
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly dist=${DIST:-dist}
readonly nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.44.1

die() {
	echo "packages: $*" >&2
	exit 1
}

# rpm_version prints version and release of a version as git describes it. In
# rpm's order a pre-release comes before its release, and commits after it.
rpm_version() {
	local version=${1#v} dirty='' count
	if [[ $version == *-dirty ]]; then
		version=${version%-dirty} dirty=.dirty
	fi
	if [[ $version =~ ^([0-9]+\.[0-9]+\.[0-9]+)(-[a-z][a-z0-9.]*)?(-([0-9]+)-g([0-9a-f]+))?$ ]]; then
		local base=${BASH_REMATCH[1]} pre=${BASH_REMATCH[2]#-} commits=${BASH_REMATCH[4]} commit=${BASH_REMATCH[5]}
		echo "$base${pre:+~$pre} 1${commits:+.$commits.g$commit}$dirty"
		return
	fi
	# No release has been tagged yet.
	[[ $version =~ ^[A-Za-z0-9.]+$ ]] || die "not a version for a package: $1; VERSION=v1.2.3"
	count=$(GIT_OPTIONAL_LOCKS=0 git rev-list --count HEAD 2>/dev/null || echo 0)
	echo "0.0.0 0.$count.$version$dirty"
}

# document makes what is the same on every architecture, by a binary that runs here.
document() {
	local shell
	go build -o "$work/host/" ./agent/cmd/ecsnode ./scripts/man
	"$work/host/man" "$work/host/ecsnode" "$work"
	for shell in bash zsh fish; do
		"$work/host/ecsnode" completion "$shell" >"$work/ecsnode.$shell"
	done
}

if [[ ${1:-} == --version-of ]]; then
	rpm_version "$2"
	exit
fi
arches=("$@")
if ((${#arches[@]} == 0)); then
	arches=(amd64 arm64)
fi
VERSION=${VERSION:-$(GIT_OPTIONAL_LOCKS=0 git describe --tags --match 'v*' --always --dirty --abbrev=12 2>/dev/null || echo devel)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(GIT_OPTIONAL_LOCKS=0 git log -1 --format=%ct 2>/dev/null || echo 0)}
read -r PACKAGE_VERSION PACKAGE_RELEASE < <(rpm_version "$VERSION")
export SOURCE_DATE_EPOCH PACKAGE_VERSION PACKAGE_RELEASE
export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
mkdir -p "$dist" "$work/host"
document
GOBIN=$work/host GOFLAGS='' GOARCH='' go install "$nfpm"
for arch in "${arches[@]}"; do
	mkdir "$work/$arch"
	GOARCH=$arch go build -ldflags "-s -w -X main.version=$VERSION" -o "$work/$arch/ecsnode" ./agent/cmd/ecsnode
	if [[ ${BINARIES:-} == true ]]; then
		cp "$work/$arch/ecsnode" "$dist/ecsnode-linux-$arch"
	fi
	PACKAGE_ARCH=$arch PACKAGE_BIN=$work/$arch PACKAGE_DOC=$work "$work/host/nfpm" package \
		--config scripts/package/nfpm.yaml --packager rpm --target "$work/$arch/" >"$work/log" || die "$(cat "$work/log")"
	for package in "$work/$arch"/*.rpm; do
		mv "$package" "$dist/"
		echo "packages: $dist/${package##*/} $(stat -c %s "$dist/${package##*/}") bytes"
	done
done
