# shellcheck shell=bash
# Name:     a required volume comes late
# Node:     a new instance that must have a volume for /data, which is not attached; early may take 4 s
# Happens:  it boots; the volume is attached later
# Must be:  Docker and ECS are held back until then, and start by themselves

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {early_budget: 4s, budget: 5s}
volumes:
  data: {device: /dev/xvdcz, filesystem: xfs, mount_point: /data, required: true, wait: 3s}
YAML
boot
within 30 status_is 1 "/dev/xvdcz" "Docker is held back"
not on systemctl --quiet is-active docker.service
ecs_has_started 0
attach xvdcz 400M
within 120 joined web
on findmnt --noheadings --types xfs /data
