# shellcheck shell=bash
# Name:     runs that overlap
# Node:     one with three commands of 6 s, one for each policy
# Happens:  each is run, and again while it runs
# Must be:  skip leaves the second out, queue runs it afterwards, replace ends the first; never two at once

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
schedules:
  items:
    skips: {cron: '@yearly', command: [/var/lib/slow, skips]}
    queues: {cron: '@yearly', overlap: queue, command: [/var/lib/slow, queues]}
    replaces: {cron: '@yearly', overlap: replace, command: [/var/lib/slow, replaces]}
YAML
boot
within 20 joined web
# systemd ends what begins in the unit meanwhile too.
on install -m 755 /dev/stdin /var/lib/slow <<'SCRIPT'
#!/bin/sh
mkdir "/run/$1" || echo "two at once" >>"/var/lib/$1"
trap 'trap "" TERM; rmdir "/run/$1"; echo ended >>"/var/lib/$1"; exit 1' TERM
echo begun >>"/var/lib/$1"
sleep 6 &
wait
rmdir "/run/$1"
echo complete >>"/var/lib/$1"
SCRIPT
for name in skips queues replaces; do
	on ecsnode schedules run "$name"
done
within 3 status_is 0 "queues    running" "replaces  running" "skips     running"
for name in skips queues replaces; do
	on ecsnode schedules run "$name"
done
within 3 status_is 0 "skips: " "did not run: the run of" "queues    running" "waits"
did() { [[ $(on cat "/var/lib/$1") == "$2" ]] || fail "$1: $(on cat "/var/lib/$1")"; }
within 20 did queues begun$'\n'complete$'\n'begun$'\n'complete
within 10 did replaces begun$'\n'ended$'\n'begun$'\n'complete
did skips begun$'\n'complete
