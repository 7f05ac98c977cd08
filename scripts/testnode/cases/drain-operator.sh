# shellcheck shell=bash
# Name:     an operator drains the node
# Node:     one that runs a task of a service and one of its own
# Happens:  ecsnode drain --deadline 3s; the task ends after it; then undrain, drain and undrain again
# Must be:  --wait tells by its exit status; nothing is stopped by itself; undrain makes it ACTIVE

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
sim POST apply '{services: [{name: web, desired: 2, elsewhere: 1, minimum_healthy_percent: 50, task: {stop_takes: 30s}}]}'
sim POST apply '{add_tasks: [{family: batch}]}'
within 10 run_all web batch

not on ecsnode drain --wait --deadline 3s --why "new AMI"
ecs_says DRAINING
has_ended web
status_is 0 "NOT DRAINED" "notice: operator drain (new AMI)" "left: batch"
run_all batch
on ecsnode undrain
within 5 ecs_says ACTIVE
drain_says "the drain is undone"

sim POST apply '{end_tasks: [batch]}'
on ecsnode drain --wait --deadline 60s
ecs_says DRAINING
within 2 status_is 0 "DRAINED"
on ecsnode undrain
within 5 ecs_says ACTIVE
within 5 joined web
