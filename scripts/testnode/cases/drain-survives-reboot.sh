# shellcheck shell=bash
# Name:     reboot while an operator drains the node
# Node:     one that an operator has drained
# Happens:  it reboots; then undrain
# Must be:  DRAINING before and after, never ACTIVE between; the drain is the same one; undrain makes it ACTIVE

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
on ecsnode drain --wait --deadline 60s
ecs_says DRAINING

reboot
within 20 ecs_has_started 2
within 10 status_is 0 "DRAINED" "for operator/drain" "the node has rebooted" "registered in web"
ecs_says DRAINING
[[ $(sim GET "counts?match=ecs/UpdateContainerInstancesState") == *":1}" ]]

on ecsnode undrain
within 5 ecs_says ACTIVE
drain_says "the drain is undone" "notice: operator" "the node has rebooted"
within 10 joined web
