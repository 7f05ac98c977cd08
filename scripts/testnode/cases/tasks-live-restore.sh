# shellcheck shell=bash
# Name:     a new daemon.json while a task runs, with live-restore
# Node:     one that runs well, with live-restore; the container of a task runs
# Happens:  another key of daemon.json is asked for
# Must be:  Docker is restarted and runs with it, the container keeps its process, ECS runs on

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
daemon_json: {settings: {live-restore: true}}
YAML
boot
within 20 joined web
[[ $(on docker info --format '{{.LiveRestoreEnabled}}') == true ]]
task=$(a_task web)
pid=$(on docker inspect --format '{{.State.Pid}}' "$task")
echo 'daemon_json: {settings: {labels: ["x=1"]}}' | sed "s/\[/'[/; s/\]/]'/" | write /etc/ecsnode/conf.d/90-labels.yaml
within 90 on sh -c 'docker info --format "{{.Labels}}" | grep -q x=1'
[[ $(on docker inspect --format '{{.State.Pid}}' "$task") == "$pid" ]]
within 30 joined web
