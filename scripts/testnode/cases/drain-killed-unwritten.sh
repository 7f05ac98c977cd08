# shellcheck shell=bash
# Name:     the daemon is killed as soon as ECS says DRAINING
# Node:     one that runs well
# Happens:  an operator drains it while ECS lists no tasks (hangs); SIGKILL once ECS says DRAINING; then undrain
# Must be:  it knows that it was itself that drained the node, and makes it ACTIVE

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
ail ecs/ListTasks '{kind: hang}'
on ecsnode drain --deadline 60s
within 5 ecs_says DRAINING
on kill -KILL "$(daemon MainPID)"
heal
within 10 status_is 0 "DRAINED"
on ecsnode undrain
within 5 ecs_says ACTIVE
