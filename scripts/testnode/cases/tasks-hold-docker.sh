# shellcheck shell=bash
# Name:     a new Docker while a task runs
# Node:     one that runs well, with the package docker 1.0; the container of a task runs
# Happens:  docker 2.0, whose scriptlet restarts Docker, is asked for; then the task ends
# Must be:  the package is left out and owed as long as the task runs, and upgraded afterwards

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
boot
within 20 joined web
publish_rpm docker 1.0
on dnf -y --quiet install docker >/dev/null
within 60 joined web
task=$(a_task web)
publish_rpm docker 2.0
pid=$(on systemctl show docker.service --property MainPID --value)
echo "packages: {ensure: {docker: latest}}" | write /etc/ecsnode/conf.d/90-docker.yaml
within 40 status_is 0 "left out of the upgrade, which is owed" "task containers run and live-restore is off"
[[ $(on systemctl show docker.service --property MainPID --value) == "$pid" ]]
[[ $(on docker inspect --format '{{.State.Running}}' "$task") == true ]]

on docker rm --force "$task" >/dev/null
on ecsnode apply >/dev/null || true
within 60 on sh -c '[ "$(rpm -q docker)" = docker-2.0-1.noarch ]'
within 90 joined web
