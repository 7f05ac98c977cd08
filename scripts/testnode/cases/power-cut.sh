# shellcheck shell=bash
# Name:     power cut right after boot
# Node:     a new instance, whose ECS agent has just started
# Happens:  the power is cut: what was not synced is lost
# Must be:  what ECS was started with is on the disk, whole; the node comes back by itself

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 ecs_has_started 1
sums=$(file_sums on)
on sh -c 'echo lost >/etc/not-synced'
cut_power

on_disk test ! -s etc/not-synced || fail "the power was not really cut"
[[ $(file_sums on_disk) == "$sums" ]]

boot
within 60 joined web
ecs_has_started 2
