# shellcheck shell=bash
# Name:     a Spot notice during a later boot
# Node:     one on Spot that ran well and boots again; its user data takes 6 s
# Happens:  a Spot notice while user data runs
# Must be:  DRAINING within 3 s, before the ECS agent starts, and still once it has

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
sim POST apply '{lifecycle: spot}'
echo 'sleep 6' | user_data
boot
within 20 joined web
on rm -r /var/lib/cloud/instance
cut_power
boot
spot_notice 120
within 3 ecs_says DRAINING
ecs_has_started 1
within 60 ecs_has_started 2
within 5 status_is 0 "DRAINED" "registered in web"
ecs_says DRAINING
