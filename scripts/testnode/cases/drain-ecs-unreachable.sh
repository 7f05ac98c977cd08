# shellcheck shell=bash
# Name:     a Spot Instance is taken back while ECS is out of reach
# Node:     one on Spot that runs a task
# Happens:  every call of ECS fails; a Spot notice for in 22 s
# Must be:  nothing is stopped before 12 s are left; then the task gets SIGTERM in time
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
drain: {stop_before: 12s}
YAML
sim POST apply '{lifecycle: spot}'
boot
within 20 joined web
sim POST apply '{add_tasks: [{family: web}]}'
within 10 run_all web
ail ecs '{kind: status, status: 503}'
spot_notice 22
within 6 status_is 1 "DRAINING is not set" "drain failing" "503"
sleep $(($(seconds_left) - 13))
run_all web
within $(($(seconds_left) - 2)) has_ended web
[[ $(task_log web) == *TERM* ]]
drain_says "DRAINING is not set" "told to stop: web"
