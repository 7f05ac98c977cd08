# shellcheck shell=bash
# Name:     the disk is full
# Node:     one that runs well
# Happens:  not one block is free below /etc and /var/lib; the tag env changes; it reboots; then there is space again
# Must be:  files of identity stay whole and last good, ECS starts with them, status says why; then all follows by itself

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 5s}
YAML
boot
within 20 joined web
files=$(file_sums on)
on sh -c 'for i in 1 2 3 4 5; do dd if=/dev/zero of=/etc/fill bs=1k oflag=append conv=notrunc; sync -f /etc; done' 2>/dev/null
not on sh -c 'echo more >/etc/more'
tag env staging
within 20 status_is 1 "nodeconfig" "no space left on device" "registered in web"
[[ $(file_sums on) == "$files" ]]

reboot
within 30 is_registered_in web
is_ready
ecs_is_active
ecs_has_started 2
ecs_always_had ECS_CLUSTER=web "node.config:NODE_CLUSTER='web'" "node.config:MY_ENVIRONMENT='prod'"
within 10 status_is 1 "nodeconfig" "no space left on device" "registered in web"
[[ $(file_sums on) == "$files" ]]

on rm /etc/fill /etc/more
within 60 node_config_has "MY_ENVIRONMENT='staging'"
within 30 joined web
ecs_has_started 2
