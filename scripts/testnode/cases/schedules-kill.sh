# shellcheck shell=bash
# Name:     the daemon is killed while something runs at its time
# Node:     one that runs a command
# Happens:  SIGKILL, three times; then the command ends
# Must be:  it runs once and to its end, and its result and output are told

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
schedules:
  items:
    slow: {cron: '@yearly', command: [/bin/sh, -c, 'echo run >>/var/lib/runs; until [ -e /run/go ]; do sleep 0.2; done; echo done at last']}
YAML
boot
within 20 joined web
on ecsnode schedules run slow
within 5 on test -s /var/lib/runs
for _ in 1 2 3; do
	pid=$(daemon MainPID)
	on kill -KILL "$pid"
	within 10 daemon_is_another_than "$pid"
done
within 5 status_is 0 "slow  running"
on touch /run/go
ended() { [[ $(on ecsnode schedules) == *"success after "*"done at last"* ]]; }
within 10 ended
[[ $(on cat /var/lib/runs) == run ]]
within 10 joined web
