# shellcheck shell=bash
# Name:     a Spot Instance is taken back
# Node:     one on Spot that runs a task of a service and a log shipper
# Happens:  EC2 announces that it terminates it in 90 s
# Must be:  DRAINING within 2 s, and told by status with its clock; the task leaves, then the shipper

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
drain: {flush: 1s}
YAML
sim POST apply '{lifecycle: spot}'
boot
within 20 joined web
sim POST apply '{add_tasks: [{family: logspout, stop_takes: 30s}], services: [{name: web, desired: 2, elsewhere: 1,
  minimum_healthy_percent: 50, maximum_percent: 200, deregistration_delay: 3s, task: {stop_takes: 30s}}]}'
within 10 run_all web logspout

spot_notice 90
within 2 ecs_says DRAINING
within 2 status_is 0 "DRAINING" "for spot/terminate" "left until" "a hard deadline" "1 task to leave"
within 10 has_ended web
run_all logspout
within 15 has_ended logspout
within 5 status_is 0 "DRAINED" "the node is drained"
drain_says "drained after" "notice: spot terminate" "ECS says DRAINING" "to leave: web" \
	"no task is left but what leaves last" "told to stop: logspout" "the node is drained"
