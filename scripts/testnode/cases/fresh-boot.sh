# shellcheck shell=bash
# Name:     fresh boot
# Node:     a new instance tagged cluster=web and env=prod
# Happens:  it boots
# Must be:  ECS started once, with node.config and its cluster; status tells that all is well

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
ecs_has_started 1
ecs_always_had "node.config:MY_ENVIRONMENT='prod'"
[[ $(on systemctl is-system-running) == running ]]
[[ -z $(on systemctl list-jobs --no-legend) ]]
