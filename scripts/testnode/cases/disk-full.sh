# shellcheck shell=bash
# Name:     the disk is full
# Node:     one that runs well
# Happens:  not one block is free below /etc and /var/lib; it reboots; the tag env changes; then there is space again
# Must be:  ECS starts with its identity; files stay whole and last good, status says why; then all follows by itself

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 5s}
files: {items: {/etc/app.env: {content: 'ENV={{ tag "env" }}'}}}
YAML
boot
within 20 joined web
files=$(file_sums on)
fill() { on sh -c 'for i in 1 2 3 4 5; do dd if=/dev/zero of=/etc/fill bs=1k oflag=append conv=notrunc; sync -f /etc; done' 2>/dev/null; }
fill
not on sh -c 'echo more >/etc/more'

reboot
within 30 is_registered_in web
ecs_has_started 2
ecs_always_had ECS_CLUSTER=web "node.config:NODE_CLUSTER='web'"
within 10 ecs_says ACTIVE
fill # what the record of the drain had kept free
tag env staging
within 20 status_is 1 "cannot write /etc/container_config/node.config: no space left on device" "registered in web" "cannot keep what files replaced"
[[ $(on cat /etc/app.env) == ENV=prod ]]
[[ $(file_sums on) == "$files" ]]
[[ -z $(on find /etc/container_config /etc/ecs -name '.*' -type f) ]] # nothing half written is left
is_ready
ecs_is_active

on rm /etc/fill
within 60 node_config_has "MY_ENVIRONMENT='staging'"
within 60 on grep -qx ENV=staging /etc/app.env
within 20 joined web
ecs_has_started 2
