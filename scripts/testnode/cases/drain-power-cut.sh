# shellcheck shell=bash
# Name:     power cut in a drain
# Node:     one on Spot that runs a task
# Happens:  a Spot notice; the power is cut as soon as it is DRAINING; the notice is gone when it boots
# Must be:  the record is whole; the drain is undone and the node is ACTIVE again

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
sim POST apply '{lifecycle: spot}'
boot
within 20 joined web
sim POST apply '{add_tasks: [{family: batch}]}'
within 10 run_all batch
spot_notice 120
within 2 ecs_says DRAINING
within 2 drain_says "ECS says DRAINING"
cut_power
on_disk sh -c 'python3 -m json.tool ecsnode/drains/*.json >/dev/null'

sim POST apply '{spot_interruption: {action: ""}}'
boot
within 60 ecs_says ACTIVE
drain_says "the drain is undone" "notice: spot" "ECS says DRAINING" "the node has rebooted" "no notice stands" "ECS says ACTIVE"
within 30 joined web
