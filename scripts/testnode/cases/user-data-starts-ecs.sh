# shellcheck shell=bash
# Name:     user data starts ECS itself
# Node:     a new instance
# Happens:  user data calls systemctl start --no-block ecs, and goes on for 3 s
# Must be:  no deadlock: boot ends, and ECS started once, with its identity

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
user_data <<'SH'
systemctl start --no-block ecs
sleep 3
SH
boot
within 20 joined web
ecs_has_started 1
boot_has active
[[ -z $(on systemctl list-jobs --no-legend) ]]
