# shellcheck shell=bash
# Name:     a Spot notice during the first boot
# Node:     a new instance on Spot, whose user data takes 5 s
# Happens:  a Spot notice while user data runs
# Must be:  it is told at once; as soon as the node is registered it is DRAINING

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
sim POST apply '{lifecycle: spot}'
echo 'sleep 5' | user_data
boot
at 1
spot_notice 120
told() { [[ $(on ecsnode status) == *"notice: spot terminate"* ]]; }
within 2 told
ecs_has_started 0
within 20 is_registered_in web
within 3 ecs_says DRAINING
within 5 drain_says "notice: spot" "ECS says DRAINING" "the node is drained" # not before: until then it may get tasks
ecs_says DRAINING
