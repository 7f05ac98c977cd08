# shellcheck shell=bash
# Name:     reboot of an empty node while ECS is out of reach
# Node:     one that runs well and has no task
# Happens:  every call of ECS fails; it reboots
# Must be:  nothing is there to wait for: the reboot takes no longer than 30 s

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
ail ecs '{kind: status, status: 503}'
reboot
echo "rebooted after $((SECONDS - switched_on)) s"
((SECONDS - switched_on <= 30))
heal
within 20 joined web
