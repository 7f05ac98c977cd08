# shellcheck shell=bash
# Name:     a node drains while something runs at its time
# Node:     one that runs a command of 8 s, and has another one each minute
# Happens:  an operator drains it; undrain
# Must be:  nothing new begins; the node is drained once the command has ended; afterwards all runs again

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
schedules:
  items:
    slow: {cron: '@yearly', command: [/bin/sh, -c, 'sleep 8; echo complete >>/var/lib/runs']}
    other: {cron: '@yearly', command: [/bin/sh, -c, 'echo other >>/var/lib/runs']}
YAML
boot
within 20 joined web
on ecsnode schedules run slow
within 3 status_is 0 "slow   running"
on ecsnode drain --deadline 60s
within 3 ecs_says DRAINING
on ecsnode schedules run other
within 5 drain_says "waits with the node for what runs at its time: slow"
on sh -c '[ ! -e /var/lib/runs ]'
within 15 drain_says "waits with the node for what runs at its time: slow" "the node is drained"
[[ $(on cat /var/lib/runs) == complete ]]
on ecsnode undrain
within 5 ecs_says ACTIVE
within 5 on ecsnode schedules run --wait other
[[ $(on cat /var/lib/runs) == complete$'\n'other ]]
