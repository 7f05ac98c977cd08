# shellcheck shell=bash
# Takes:    long
# Name:     reboot and power cut while something runs at its time
# Node:     one that was off for three minutes, and runs a command, with another one each minute
# Happens:  it reboots, for which logind leaves it 6 s; the command is run again and the power is cut
# Must be:  each run is cut short, is not begun again, and status says so; no tick of the other runs twice

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
schedules:
  items:
    slow: {cron: '@yearly', command: [/bin/sh, -c, 'echo run >>/var/lib/ecsnode/runs; sync; sleep 3600']}
    each-minute: {cron: '* * * * *', missed: run-once, command: [/bin/sh, -c, 'echo "$ECSNODE_TICK" >>/var/lib/ecsnode/ticks']}
YAML
put /var/lib/ecsnode/schedules.json <<JSON
{"schedules": {"each-minute": {"ticks": "* * * * * in UTC", "settled": "$(date -u -d '-3 minutes' +%FT%TZ)"}}}
JSON
put /etc/systemd/logind.conf.d/90-short.conf <<<$'[Login]\nInhibitDelayMaxSec=6'
boot
within 20 joined web
runs() { on sh -c 'cat /var/lib/ecsnode/runs 2>/dev/null | wc -l'; }
has_run() { [[ $(runs) == "$1" ]]; }
within 5 on test -s /var/lib/ecsnode/ticks
on ecsnode schedules run slow
within 5 has_run 1
reboot
within 20 joined web
within 10 status_is 0 "slow: the run of" "cut short: the node w" # was rebooted, or went down if it was seen to
has_run 1

on ecsnode schedules run slow
within 5 has_run 2
cut_power
boot
within 20 joined web
within 10 status_is 0 "slow: the run of" "cut short: the node was rebooted"
has_run 2
[[ -z $(on sh -c 'sort /var/lib/ecsnode/ticks | uniq -d') ]]
