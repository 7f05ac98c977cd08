# shellcheck shell=bash
# Name:     reboot with a full disk, and then ACTIVE
# Node:     one that runs well
# Happens:  not one block is free below /etc and /var/lib; it reboots; then there is space again
# Must be:  the drain for the reboot is written down all the same, and undone; status says that the disk is full

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 5s}
YAML
boot
within 20 joined web
on sh -c 'for i in 1 2 3 4 5; do dd if=/dev/zero of=/etc/fill bs=1k oflag=append conv=notrunc; sync -f /etc; done' 2>/dev/null
not on sh -c 'echo more >/etc/more'

reboot
within 30 is_registered_in web
ecs_always_had ECS_CLUSTER=web "node.config:NODE_CLUSTER='web'"
within 30 ecs_says ACTIVE
drain_says "shutdown" "ECS says DRAINING" "the drain is undone"
on ecsnode status | grep -F "cannot keep room for the record of a drain" >/dev/null

on rm /etc/fill
within 60 joined web
