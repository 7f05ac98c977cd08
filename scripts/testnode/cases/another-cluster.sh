# shellcheck shell=bash
# Name:     the cluster of a registered node is changed
# Node:     one that runs well in the cluster web
# Happens:  its tag says another cluster, and it reboots
# Must be:  it stays in web, ECS starts, and status says what to do

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
tag cluster other
reboot
within 40 is_registered_in web
ecs_always_had ECS_CLUSTER=web "node.config:NODE_CLUSTER='web'"
within 10 status_is 1 'cannot change ECS_CLUSTER from "web" to "other"' "Replace the instance"
ecs_is_active
