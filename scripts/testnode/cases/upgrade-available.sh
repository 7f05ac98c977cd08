# shellcheck shell=bash
# Name:     an upgrade is available
# Node:     a new instance whose image has ecs-init 1.0; the repository has 1.1
# Happens:  it boots, and reboots
# Must be:  the agent was 1.1 at its first start, and Docker was not restarted for it; no second upgrade

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
packages: {ensure: {ecs-init: latest}}
YAML
user_data <<'SH'
/usr/libexec/testnode/publish-rpm ecs-init 1.1
SH
boot
within 40 joined web
ecs_has_started 1
on grep -Fqx 1.1 /var/lib/testnode/ecs/1/version
status_is 0 "ecs-init 1.1-1"
(($(on systemctl show docker.service --property NRestarts --value) == 0))

reboot
within 40 joined web
status_is 0 "ecs-init 1.1-1 (nothing newer)"
