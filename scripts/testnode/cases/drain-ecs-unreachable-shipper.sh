# shellcheck shell=bash
# Name:     a Spot Instance is taken back while ECS is out of reach, in time for the shipper
# Node:     one on Spot that runs a task and a log shipper
# Happens:  every call of ECS fails; a Spot notice for in 20 s
# Must be:  nothing is stopped before 8 s are left; then the task gets SIGTERM in time, the shipper after it
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
drain: {stop_before: 8s, flush: 1s}
YAML
sim POST apply '{lifecycle: spot}'
boot
within 20 joined web
sim POST apply '{add_tasks: [{family: web}, {family: logspout}]}'
within 10 run_all web logspout
ail ecs '{kind: status, status: 503}'
spot_notice 20
sleep $(($(seconds_left) - 10))
run_all web logspout
within 4 has_ended web
within 4 has_ended logspout
(($(seconds_left) > 1))
[[ $(task_log web) == *TERM* && $(task_log logspout) == *TERM* ]]
drain_says "told to stop: web" "no task is left" "told to stop: logspout"
