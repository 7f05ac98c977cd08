# shellcheck shell=bash
# Name:     node tasks on a fresh node
# Node:     one whose configuration names two
# Happens:  it boots; a container dies; one is removed by force; Docker is restarted
# Must be:  one of each runs, again within seconds, and never two; status and ECS say so

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
node_tasks:
  tasks:
    logspout: {task_definition: "logspout:12", needed: hard, environment: {NODE: '{{ node "instance_id" }}'}}
    datadog: {task_definition: "datadog:3"}
YAML
sim POST apply '{task_definitions: [{family: logspout, revision: 12}, {family: datadog, revision: 3}]}'
boot
within 20 joined web
within 10 run_all logspout datadog
one_each() {
	local family
	for family in logspout datadog; do
		[[ $(containers_of "$family" | wc -l) == 1 ]] || fail "not one $family: $(on docker ps)" || return
	done
}
one_each
within 5 status_is 0 "logspout  running logspout:12" "datadog   running datadog:3" "all well"
is_told_ready() { sim GET state | grep -q '"ecsnode.ready": *"true"'; }
within 12 is_told_ready

was=$(containers_of logspout)
on docker kill "$was"
another() { [[ -n $(containers_of "$1") && $(containers_of "$1") != "$2" ]]; }
within 8 another logspout "$was"
one_each
was=$(containers_of datadog)
on docker rm -f "$was"
within 8 another datadog "$was"
one_each

on systemctl restart docker.service
within 60 run_all logspout datadog
within 20 joined web
sleep 3
one_each
