# shellcheck shell=bash
# Name:     a blank volume
# Node:     a new instance with a blank volume of 400 MB, for /data
# Happens:  it boots; the volume is used and grows to 600 MB; it reboots
# Must be:  formatted once, mounted before Docker, grown, and never formatted again

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
volumes:
  data: {device: /dev/xvdcz, filesystem: xfs, mount_point: /data, required: true}
YAML
attach xvdcz 400M
boot
within 30 joined web
on findmnt --noheadings --types xfs /data
on sh -c 'echo kept >/data/file && sync'
[[ $(on systemctl show docker.service --property ActiveEnterTimestampMonotonic --value) -gt $(on systemctl show ecsnode-early.service --property ActiveEnterTimestampMonotonic --value) ]]

attach xvdcz 600M
reboot
within 30 joined web
[[ $(on cat /data/file) == kept ]]
within 20 on sh -c '[ "$(df --output=size -m /data | tail -1)" -gt 500 ]'
