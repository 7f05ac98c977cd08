# shellcheck shell=bash
# Name:     a volume from a snapshot
# Node:     a new instance with a volume of 600 MB for /data; it holds the file system that another made on 400 MB
# Happens:  it boots
# Must be:  mounted as it is before Docker starts, never formatted, and grown

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
put /etc/systemd/system/docker.service.d/90-testnode.conf <<'INI'
[Service]
ExecStartPre=-/usr/bin/cp /data/file /run/seen-before-docker
INI
attach xvdcz 400M
boot
within 20 joined web
on sh -c 'mkfs.xfs -q /dev/xvdcz && mount /dev/xvdcz /mnt && echo kept >/mnt/file && umount /mnt'
uuid=$(on blkid -p -s UUID -o value /dev/xvdcz)
poweroff

attach xvdcz 600M
become_instance i-0fedcba9876543210
on_disk tee etc/ecsnode/conf.d/50-volumes.yaml <<'YAML'
volumes:
  data: {device: /dev/xvdcz, filesystem: xfs, mount_point: /data, required: true}
YAML
boot
within 30 joined web
[[ $(on cat /run/seen-before-docker) == kept ]]
[[ $(on findmnt --noheadings --raw --output FSTYPE,UUID /data) == "xfs $uuid" ]]
within 20 on sh -c '[ "$(df --output=size -m /data | tail -1)" -gt 500 ]'
[[ $(on cat /data/file) == kept ]]
ecs_has_started 2
