#!/usr/bin/env bash
# Looks whether this is an instance to make an image on, before anything is
# changed: of the right architecture, booted to its end, and no node.
#
#   IMAGE_ARCH             x86_64 or arm64
#   IMAGE_AGENT_VERSION    the version that ecs-init must have; empty: any
#   IMAGE_DOCKER_VERSION   the same of docker
set -euo pipefail

die() {
	echo "prepare: $*" >&2
	exit 1
}

((EUID == 0)) || die "needs root"
have=$(uname -m)
[[ ${have/aarch64/arm64} == "${IMAGE_ARCH:?}" ]] || die "this instance is $have, and the image is to be $IMAGE_ARCH: choose another source image or instance type"
for program in dnf rpm systemctl cloud-init; do
	command -v "$program" >/dev/null || die "there is no $program: build from an ECS-optimized image of Amazon Linux 2023"
done

# User data and what it has started must be done. 2 is done with a warning.
status=0
timeout 300 cloud-init status --wait >/dev/null || status=$?
((status == 0 || status == 2)) || die "cloud-init has failed, or has not ended in 5 minutes: cloud-init status --long"

for unit in ecs ecsnode-early ecsnode-boot ecsnode ecsnode-shutdown; do
	state=$(systemctl is-active "$unit.service" || true)
	[[ $state == inactive || $state == failed || $state == unknown ]] ||
		die "$unit.service is $state: this instance is or becomes a node; give it packer/user-data"
done
[[ $(systemctl is-enabled ecs.service || true) == masked-runtime ]] ||
	die "ecs.service is not masked in /run: it would start at a reboot of this instance; give it packer/user-data"

# version_is PACKAGE VERSION
version_is() {
	local have
	have=$(rpm -q --qf '%{VERSION}' "$1") || die "$1 is not installed: build from an ECS-optimized image"
	[[ -z $2 || $have == "$2" ]] || die "$1 is $have, and the image is to have $2"
	echo "prepare: $1 $have"
}
version_is ecs-init "${IMAGE_AGENT_VERSION:-}"
version_is docker "${IMAGE_DOCKER_VERSION:-}"
