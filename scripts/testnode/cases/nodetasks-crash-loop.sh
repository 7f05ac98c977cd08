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
# starts prints the milliseconds of the times at which it was asked for.
starts() {
	sim GET 'calls?match=ecs/StartTask' | grep -o '"time":"[^"]*"\|task-definition/brief' | grep -B1 brief | cut -sd'"' -f4 | date -f - +%s%3N
}
last_gap() { starts | awk 'NR == 6 { print $1 - last } { last = $1 }'; }
more_rarely() { (($(last_gap) >= 5000)) || fail "the sixth start came $(last_gap) ms after the fifth"; }
within 40 more_rarely
is_told_ready() { sim GET state | grep -q '"ecsnode.ready": *"true"'; }
not is_told_ready
