# shellcheck shell=bash
# Name:     a volume with something else on it
# Node:     a new instance with a volume that holds a file system that is not asked for
# Happens:  it boots
# Must be:  the volume is not touched, status says what was found, Docker is held back

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 5s}
volumes:
  data: {device: /dev/xvdcz, filesystem: xfs, mount_point: /data, required: true}
YAML
attach xvdcz 64M
mkfs.ext4 -q "$work/$node/volumes/xvdcz"
sum=$(sha256sum <"$work/$node/volumes/xvdcz")
boot
within 30 status_is 1 "volumes" "ext4" "Docker is held back"
not on systemctl --quiet is-active docker.service
ecs_has_started 0
[[ $(sha256sum <"$work/$node/volumes/xvdcz") == "$sum" ]]
