# shellcheck shell=bash
# Name:     the daemon is killed six times in a row
# Node:     one that runs well
# Happens:  SIGKILL, and again as soon as it is back
# Must be:  it is always back, all is well, ECS was not disturbed and nothing written again

running_node
files=$(file_states)
restarts=$(daemon NRestarts)

for _ in {1..6}; do
	pid=$(daemon MainPID)
	on kill -KILL "$pid"
	is_ready # ECS may be restarted meanwhile
	within 10 daemon_is_another_than "$pid"
done
(($(daemon NRestarts) == restarts + 6))
within 10 joined web
unchanged_since "$files"
ecs_has_started 0
