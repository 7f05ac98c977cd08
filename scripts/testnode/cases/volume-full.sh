# shellcheck shell=bash
# Name:     a full volume
# Node:     one that must have a volume for /data, where Docker and others write
# Happens:  not one block is free on the volume when it reboots; then it is enlarged
# Must be:  mounted and nothing on it lost, and ECS starts as ever; it is grown, and there is space again
# Takes:    long

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
volumes:
  data: {device: /dev/xvdcz, filesystem: xfs, mount_point: /data, required: true}
YAML
attach xvdcz 400M
boot
within 30 joined web
on sh -c 'echo kept >/data/file'
on sh -c 'for i in 1 2 3 4 5; do dd if=/dev/zero of=/data/fill bs=4k oflag=append conv=notrunc; sync -f /data; done' 2>/dev/null
not on sh -c 'echo more >/data/more'

reboot
within 30 joined web
ecs_has_started 2
[[ $(on cat /data/file) == kept ]]
not on sh -c 'echo more >/data/more'

attach xvdcz 600M
within 90 on sh -c 'echo more >/data/more'
within 20 joined web
ecs_has_started 2
