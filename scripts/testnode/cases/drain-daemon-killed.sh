# shellcheck shell=bash
# Name:     the daemon is killed in a drain
# Node:     one on Spot that runs a task of a service and a log shipper
# Happens:  a Spot notice; SIGKILL once it is DRAINING, and again once the task has ended
# Must be:  the drain goes on where it was, does nothing twice, and ends
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
drain: {flush: 5s}
YAML
sim POST apply '{lifecycle: spot}'
boot
within 20 joined web
sim POST apply '{add_tasks: [{family: logspout, stop_takes: 30s}], services: [{name: web, desired: 2, elsewhere: 1,
  minimum_healthy_percent: 50, deregistration_delay: 3s, task: {stop_takes: 30s}}]}'
within 10 run_all web logspout
spot_notice 60
within 2 ecs_says DRAINING
on kill -KILL "$(daemon MainPID)"
within 15 has_ended web
within 5 drain_says "no task is left"
on kill -KILL "$(daemon MainPID)"
run_all logspout
within 20 drain_says "notice: spot" "ECS says DRAINING" "no task is left" "told to stop: logspout" "the node is drained"
has_ended logspout
(($(seconds_left) > 0))
[[ $(sim GET "counts?match=ecs/UpdateContainerInstancesState") == *":1}" ]]
[[ $(sim GET "counts?match=ecs/StopTask") == *":1}" ]]
(($(on sh -c 'ls /var/lib/ecsnode/drains/*.json | wc -l') == 1))
