# shellcheck shell=bash
# Name:     reboot
# Node:     one that runs well
# Happens:  systemctl reboot
# Must be:  identity is established anew, the files were not written again, ECS started with them

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
files=$(file_states)

reboot
within 20 joined web
ecs_has_started 2
within 5 ecs_says ACTIVE
unchanged_since "$files"
