# shellcheck shell=bash
# Name:     an operator rehearses a drain
# Node:     one on Spot that runs a task of a service, one of its own and a log shipper
# Happens:  ecsnode simulate for each source; then spot for real, and undrain
# Must be:  a rehearsal tells what would happen and changes nothing; for real it does happen
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
drain: {flush: 1s, families: {batch: stop}}
YAML
sim POST apply '{lifecycle: spot}'
boot
within 20 joined web
sim POST apply '{add_tasks: [{family: logspout}, {family: batch}], services: [{name: web, desired: 2, elsewhere: 1,
  minimum_healthy_percent: 50, maximum_percent: 200, task: {stop_takes: 30s}}]}'
within 10 run_all web logspout batch

rehearsal=$(on ecsnode simulate spot)
for says in "container-instance/" "active now" "DRAINING is asked for" "2 tasks to leave" "service web: ECS moves it" \
	"standalone: stop" "leaves last" "the deadline, hard" "1s later these are told to stop: logspout"; do
	[[ $rehearsal == *"$says"* ]] || fail "the rehearsal does not say '$says': $rehearsal"
done
on ecsnode simulate maintenance --in 2h
on ecsnode simulate rebalance
on ecsnode simulate lifecycle
on ecsnode simulate shutdown
ecs_says ACTIVE
run_all web logspout batch
not on test -e /var/lib/ecsnode/requests/drain.json

on ecsnode simulate spot --in 70s --for-real --wait
ecs_says DRAINING
for family in web batch logspout; do has_ended "$family"; done
drain_says "notice: operator simulated spot terminate" "told to stop: batch" "the node is drained"
on ecsnode undrain
within 5 ecs_says ACTIVE
