# shellcheck shell=bash
# Name:     a reboot by force
# Node:     one that runs well, with a task of a service
# Happens:  systemctl reboot --force, which stops no unit and asks nobody
# Must be:  nothing can be drained and nothing is said to have been; the node comes back as it was
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
sim POST apply '{add_tasks: [{family: batch}]}'
within 10 run_all batch
before_reboot=$(cat "$work/$node/boot_id")
on systemctl reboot --force || true # its answer may be lost
within 60 ecs_has_started 2
[[ $(cat "$work/$node/boot_id") != "$before_reboot" ]]
within 20 joined web
ecs_says ACTIVE
within 10 status_is 0 "all well"
not on ecsnode drain show
