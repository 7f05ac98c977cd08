# shellcheck shell=bash
# Name:     node tasks leave a node that drains, in their order
# Node:     one on Spot with a task of a service, a log shipper and an agent that leaves with the work
# Happens:  a Spot notice; it is withdrawn
# Must be:  the agent leaves with the work, the log shipper last; none is started before the node is ACTIVE again

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
drain: {leave_last: [], flush: 2s, standalone: stop}
node_tasks:
  tasks:
    shipper: {task_definition: "shipper:1"}
    datadog: {task_definition: "datadog:3", leave: with-workload}
YAML
sim POST apply '{lifecycle: spot, task_definitions: [{family: shipper}, {family: datadog, revision: 3}]}'
boot
within 20 joined web
sim POST apply '{services: [{name: web, desired: 2, elsewhere: 1, minimum_healthy_percent: 50, task: {stop_takes: 30s}}]}'
within 10 run_all web shipper datadog

spot_notice 70
within 2 ecs_says DRAINING
within 10 has_ended web
run_all shipper
within 40 has_ended datadog
within 15 has_ended shipper
within 10 drain_says "told to stop: datadog" "no task is left but what leaves last" "told to stop: shipper" "the node is drained"
[[ -z $(containers_of datadog) && -z $(containers_of shipper) ]]
sim POST apply '{spot_interruption: {action: ""}}'
within 10 ecs_says ACTIVE
within 15 run_all shipper datadog
