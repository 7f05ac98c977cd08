# shellcheck shell=bash
# Name:     units are started while boot works
# Node:     a new instance without the tag cluster
# Happens:  while boot waits for the tag, one unit starts ECS and waits for it, and another restarts Docker
# Must be:  no deadlock: Docker is restarted at once, ECS starts with its cluster once it has the tag

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
untag cluster
boot
within 20 boot_has activating
within 20 on docker info --format ok
starter() { on systemd-run --quiet --unit="$1" --property=Type=oneshot --property=RemainAfterExit=yes --no-block "${@:2}"; }
starter starts-ecs systemctl start ecs.service
starter restarts-docker systemctl restart docker.service
within 20 on systemctl --quiet is-active restarts-docker.service
boot_has activating
ecs_has_started 0
[[ $(on systemctl show starts-ecs.service --property ActiveState --value) == activating ]]

tag cluster web
within 40 joined web
within 10 on systemctl --quiet is-active starts-ecs.service
boot_has active
ecs_has_started 1
(($(log_of docker.service | grep -c 'Started docker.service\|Started Docker') == 2)) || fail "Docker was not started twice"
[[ -z $(on systemctl list-jobs --no-legend) ]]
