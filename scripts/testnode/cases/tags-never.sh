# shellcheck shell=bash
# Name:     tags never come
# Node:     a new instance in an Auto Scaling group, without the tag cluster; it is to give up after 12 s
# Happens:  it boots
# Must be:  ECS never starts, and Auto Scaling is told to replace the instance

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 3s, unhealthy_after: 12s}
YAML
untag cluster
sim POST apply '{group: web}'
boot
within 60 status_is 1 "reported unhealthy to Auto Scaling"
ecs_has_started 0
sim GET calls | grep -q SetInstanceHealth
