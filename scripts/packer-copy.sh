#!/usr/bin/env bash
# Copies packer/ into a directory as the installed Packer can read it: one that is
# older than 1.7 has its own builder for Amazon, which knows less. Exits 3 where
# the plugin amazon is not installed.
#
#   scripts/packer-copy.sh DIRECTORY
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
copy=${1:?}
mkdir -p "$copy"
cp -r packer/. "$copy"
if [[ $(packer version) =~ v1\.[0-6]\. ]]; then
	rm "$copy/plugins.pkr.hcl"
	sed -i -e '/imds_support/d' -e '/include_deprecated/d' -e '/source_public_ip/d' -e '/metadata_options {/,/}/d' "$copy/ecsnode.pkr.hcl"
elif ! packer plugins installed | grep -q packer-plugin-amazon; then
	exit 3
fi
