# shellcheck shell=bash
# Name:     a node task that ends as soon as it runs
# Node:     one whose configuration names it, and another that is well
# Happens:  it boots
# Must be:  it is started again ever more rarely, and status says so; the other one runs

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
node_tasks:
  tasks:
    brief: {task_definition: "brief-shipper:1", needed: hard}
    datadog: {task_definition: "datadog:3"}
YAML
sim POST apply '{task_definitions: [{family: brief-shipper}, {family: datadog, revision: 3}]}'
boot
within 20 joined web
within 10 run_all datadog
within 30 status_is 1 "brief: it ended" "times in a row" "datadog  running datadog:3"
starts() { sim GET 'counts?match=ecs/StartTask' | sed 's/[^0-9]//g'; }
sleep 15
so_far=$(starts)
sleep 10
(($(starts) - so_far <= 2)) || fail "started $(($(starts) - so_far)) times in 10 s"
is_told_ready() { sim GET state | grep -q '"ecsnode.ready": *"true"'; }
not is_told_ready
