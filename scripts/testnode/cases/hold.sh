# shellcheck shell=bash
# Name:     hold over a reboot
# Node:     one that runs well
# Happens:  an operator holds it, it reboots, its tag env changes; then the hold is released
# Must be:  held it still has its identity and changes nothing, and says so; released it follows

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
on ecsnode hold --why "disk swap"

reboot
within 20 ecs_has_started 2
is_ready
within 10 status_is 0 "disk swap" "held" "registered in web"
tag env staging
sleep 7 # metadata is read each 5 s
node_config_has "MY_ENVIRONMENT='prod'"

on ecsnode release
within 15 node_config_has "MY_ENVIRONMENT='staging'"
within 10 joined web
ecs_has_started 2
ecs_always_had "node.config:MY_ENVIRONMENT='prod'"
