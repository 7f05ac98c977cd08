# shellcheck shell=bash
# Name:     reboot while instance metadata is ill
# Node:     one that ran well; the DMI board asset tag tells that it is the same instance
# Happens:  instance metadata answers 503 from before the reboot on, and later is well again
# Must be:  ECS starts with the identity last known; status tells what is wrong, then that all is well

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 3s}
YAML
boot
within 20 joined web
files=$(file_states)

ail imds '{kind: status, status: 503}'
reboot
within 30 ecs_has_started 2
is_ready
within 10 status_is 1 "FAILING" "503" "cluster web" "registered in web"
unchanged_since "$files"

heal
within 30 joined web
ecs_has_started 2
unchanged_since "$files"
