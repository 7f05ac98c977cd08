# shellcheck shell=bash
# Name:     a task at set times
# Node:     one whose configuration has a task that ends by itself
# Happens:  it is run, twice
# Must be:  it runs on this node, its result is told, and no container of it is left
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
schedules:
  items:
    report: {cron: '@yearly', task: {task_definition: 'brief-report:1'}}
YAML
sim POST apply '{task_definitions: [{family: brief-report}]}'
boot
within 20 joined web
for run in 1 2; do
	on ecsnode schedules run --wait report || true
	none_left() { [[ -z $(containers_of brief-report all) ]]; }
	within 10 none_left
	[[ $(sim GET 'counts?match=ecs/StartTask' | sed 's/[^0-9]//g') == "$run" ]]
done
on ecsnode schedules
