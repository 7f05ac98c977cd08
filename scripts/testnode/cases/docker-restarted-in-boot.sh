# shellcheck shell=bash
# Name:     Docker restarted inside boot, with ECS queued
# Node:     a new instance on which Docker is to be restarted at every boot
# Happens:  it boots
# Must be:  Docker was started twice, ECS once, with its cluster

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
units: {restart_docker: always}
YAML
boot
within 30 joined web
ecs_has_started 1
(($(log_of docker.service | grep -c 'Started docker.service\|Started Docker') == 2)) || fail "Docker was not started twice"
