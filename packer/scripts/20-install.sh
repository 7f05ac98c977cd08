#!/usr/bin/env bash
# Installs the package of ecsnode that was uploaded. Nothing else is changed:
# packages of the image stay as they were released together.
set -euo pipefail
package=/tmp/ecsnode-image/ecsnode.rpm

die() {
	echo "install: $*" >&2
	exit 1
}

[[ -s $package ]] || die "there is no $package"
want=$(rpm -qp --qf '%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}' "$package")
if [[ $(rpm -q ecsnode || true) != "$want" ]]; then
	# Another dnf is waited for, for a while: updates at boot hold its lock. Only
	# what is installed can satisfy the package.
	timeout 300 dnf -y --disablerepo='*' install "$package" || die "cannot install $want"
fi
[[ $(rpm -q ecsnode) == "$want" ]] || die "$(rpm -q ecsnode) is installed, and not $want"
rpm -V ecsnode || true # says which settings a former image has changed
echo "install: $want"
