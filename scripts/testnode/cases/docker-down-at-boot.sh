# shellcheck shell=bash
# Name:     Docker is down at boot
# Node:     a new instance whose Docker cannot start until user data has run
# Happens:  it boots
# Must be:  boot starts Docker, and ECS starts once, with its cluster

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
put /etc/systemd/system/docker.service.d/broken.conf <<'UNIT'
[Service]
ExecStartPre=/usr/bin/test -e /run/mended
UNIT
user_data <<'SH'
while systemctl is-active docker || systemctl show docker --property ActiveState | grep -q activating; do sleep 0.5; done
touch /run/mended
SH
boot
within 60 joined web
ecs_has_started 1
