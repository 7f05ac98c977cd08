# shellcheck shell=bash
# Name:     tags come while the node boots
# Node:     a new instance without the tag cluster
# Happens:  it boots, and is tagged 5 s later
# Must be:  boot waits for the tag, and ECS starts once, in the right cluster

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
untag cluster
boot
at 5
boot_has activating
ecs_has_started 0
tag cluster web
within 40 joined web
ecs_has_started 1
boot_has active
