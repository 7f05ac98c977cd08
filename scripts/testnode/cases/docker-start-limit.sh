# shellcheck shell=bash
# Name:     Docker's start limit
# Node:     one that runs well
# Happens:  Docker is restarted until systemd refuses to start it, which takes ECS down with it
# Must be:  both are up again by themselves
# Takes:    long

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
on sh -c 'for i in 1 2 3 4 5; do systemctl restart docker || exit 0; done; exit 1'
[[ $(on systemctl show docker.service --property Result --value) == start-limit-hit ]]
within 90 joined web
