# shellcheck shell=bash
# Name:     a Spot Instance is taken back while ECS does not answer
# Node:     one on Spot that runs a task and a log shipper
# Happens:  every call of ECS hangs; a Spot notice for in 25 s
# Must be:  nothing is stopped before 12 s are left; then the task gets SIGTERM in time, the shipper after it
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
drain: {stop_before: 12s, flush: 1s}
YAML
sim POST apply '{lifecycle: spot}'
boot
within 20 joined web
sim POST apply '{add_tasks: [{family: web}, {family: logspout}]}'
within 10 run_all web logspout
ail ecs '{kind: hang}'
spot_notice 25
sleep 11
run_all web logspout
within 8 has_ended web
within 5 has_ended logspout
(($(seconds_left) > 1))
[[ $(task_log web) == *TERM* && $(task_log logspout) == *TERM* ]]
drain_says "told to stop: web" "told to stop: logspout"
