# shellcheck shell=bash
# Name:     a container that ignores SIGTERM
# Node:     one on Spot that runs such a task and a log shipper
# Happens:  a Spot notice for in 15 s
# Must be:  the task is told by ECS, then killed in time; the shipper gets its SIGTERM in time all the same
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
drain: {stop_before: 8s, flush: 1s}
YAML
sim POST apply '{lifecycle: spot}'
boot
within 20 joined web
sim POST apply '{add_tasks: [{family: deaf-web, stop_takes: 1h, stop_timeout: 1h}, {family: logspout, stop_takes: 30s}]}'
within 10 run_all deaf-web logspout
spot_notice 15
within 2 ecs_says DRAINING
sleep $(($(seconds_left) - 5))
run_all deaf-web logspout
[[ $(task_log deaf-web) == *TERM* ]]
within 4 has_ended deaf-web
within 2 has_ended logspout
(($(seconds_left) >= 0))
[[ $(task_log logspout) == *TERM* ]]
drain_says "told to stop: deaf-web" "told to stop: deaf-web" "told to stop: logspout"
