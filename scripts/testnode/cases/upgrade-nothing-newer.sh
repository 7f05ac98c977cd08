# shellcheck shell=bash
# Name:     no upgrade is available
# Node:     a new instance that is to upgrade ecs-init; the repository has what is installed
# Happens:  it boots
# Must be:  boot ends well, status says that nothing is newer, ECS and Docker were started once

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
packages: {ensure: {ecs-init: latest}}
YAML
boot
within 40 joined web
boot_has active
status_is 0 "ecs-init 1.0-1 (nothing newer)"
ecs_has_started 1
(($(log_of docker.service | grep -c 'Started docker.service\|Started Docker') == 1)) || fail "Docker was restarted"
