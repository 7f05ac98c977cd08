# shellcheck shell=bash
# Name:     the daemon is dead when the host reboots
# Node:     one that runs well, with a task of a service; ecsnode is stopped
# Happens:  reboot.target is started, of which the login manager does not tell
# Must be:  the node is drained before it goes, and ACTIVE again afterwards

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
on systemctl stop ecsnode.service
before_reboot=$(cat "$work/$node/boot_id")
on systemctl start --no-block reboot.target
within 60 ecs_has_started 2
[[ $(cat "$work/$node/boot_id") != "$before_reboot" ]]
drain_says "shutdown/reboot" "ECS says DRAINING" "the node is drained"
within 20 ecs_says ACTIVE
drain_says "the drain is undone"
within 10 joined web
