# shellcheck shell=bash
# Name:     reboot and power cut while something runs at its time
# Node:     one that runs a command, and has another one each minute
# Happens:  it reboots; the command is run again and the power is cut
# Must be:  each run is cut short, is not begun again, and status says so; no tick of the other runs twice

# Takes:    long
new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
schedules:
  items:
    slow: {cron: '@yearly', command: [/bin/sh, -c, 'echo run >>/var/lib/ecsnode/runs; sync; sleep 3600']}
    each-minute: {cron: '* * * * *', missed: run-once, command: [/bin/sh, -c, 'echo "$ECSNODE_TICK" >>/var/lib/ecsnode/ticks']}
YAML
boot
within 20 joined web
runs() { on sh -c 'cat /var/lib/ecsnode/runs 2>/dev/null | wc -l'; }
has_run() { [[ $(runs) == "$1" ]]; }
on ecsnode schedules run slow
within 5 has_run 1
reboot
within 20 joined web
within 10 status_is 0 "slow: the run of" "cut short: the node was rebooted"
has_run 1

on ecsnode schedules run slow
within 5 has_run 2
cut_power
boot
within 20 joined web
within 10 status_is 0 "slow: the run of" "cut short: the node was rebooted"
has_run 2
within 60 on test -s /var/lib/ecsnode/ticks
[[ -z $(on sh -c 'sort /var/lib/ecsnode/ticks | uniq -d') ]]
