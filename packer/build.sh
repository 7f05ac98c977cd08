#!/usr/bin/env bash
# Builds an image with ecsnode in it in the account that the AWS credentials of
# this machine are for: make ami ARCH=x86_64 REGION=eu-west-1
#
#   ARCH      x86_64 or arm64
#   REGION    where it is built
#   SOURCE    what it is built upon: an image (ami-...), or ssm for the one that
#             ECS recommends now, whose versions are then held to (needs the AWS
#             CLI); otherwise the newest ECS-optimized image of Amazon's
#   VARS      file with further variables, of packer/variables.pkr.hcl
#   CHECK     true: looks whether Packer would take all of it, and builds nothing
#   VERSION   as for make
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
	echo "ami: $*" >&2
	exit 1
}

# recommended prints what ECS says of the image that it recommends: one object of
# JSON, with strings in it.
recommended() {
	local name=/aws/service/ecs/optimized-ami/amazon-linux-2023
	if [[ $ARCH == arm64 ]]; then
		name+=/arm64
	fi
	aws ssm get-parameter --region "$REGION" --name "$name/recommended" --query Parameter.Value --output text ||
		die "cannot read the parameter $name/recommended"
}

# field NAME prints one string of an object of JSON.
field() {
	[[ $recommended =~ \"$1\"[[:space:]]*:[[:space:]]*\"([^\"]+)\" ]] || die "the image that ECS recommends has no $1: $recommended"
	echo "${BASH_REMATCH[1]}"
}

case ${ARCH:-} in
x86_64) goarch=amd64 ;;
arm64) goarch=arm64 ;;
*) die "ARCH is x86_64 or arm64, not \"${ARCH:-}\": make ami ARCH=x86_64 REGION=eu-west-1" ;;
esac
[[ -n ${REGION:-} ]] || die "REGION is not set: make ami ARCH=$ARCH REGION=eu-west-1"
command -v packer >/dev/null || die "there is no packer: https://developer.hashicorp.com/packer/install"
[[ -z ${VARS:-} || -f $VARS ]] || die "there is no file $VARS"

arguments=(-var "region=$REGION" -var "timestamp=$(date -u +%Y%m%dT%H%M%SZ)")
case ${SOURCE:-} in
'') ;;
ami-*) arguments+=(-var "source_ami=$SOURCE") ;;
ssm)
	command -v aws >/dev/null || die "SOURCE=ssm needs the AWS CLI"
	recommended=$(recommended)
	image=$(field image_id)
	agent=$(field ecs_agent_version)
	docker=$(field ecs_runtime_version)
	arguments+=(-var "source_ami=$image" -var "agent_version=$agent" -var "docker_version=${docker#Docker version }")
	;;
*) die "SOURCE is an image or ssm, not \"$SOURCE\"" ;;
esac

packages=dist/ami-$ARCH
rm -rf "$packages"
DIST=$packages scripts/packages.sh "$goarch"
package=$(find "$packages" -name '*.rpm')
version=${package##*/ecsnode-}
version=${version%.*.rpm}
arguments+=(-var "package=$package" -var "ecsnode_version=$version" -only "ecsnode.amazon-ebs.$ARCH")
if [[ -n ${VARS:-} ]]; then
	arguments+=(-var-file "$VARS")
fi

packer init packer
if [[ ${CHECK:-} == true ]]; then
	packer validate "${arguments[@]}" packer
	exit
fi
packer build "${arguments[@]}" packer
