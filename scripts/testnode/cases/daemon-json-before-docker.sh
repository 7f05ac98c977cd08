# shellcheck shell=bash
# Name:     daemon.json is there before Docker
# Node:     a new instance with keys for daemon.json, one of them from a tag
# Happens:  it boots and reboots
# Must be:  Docker runs with them; where all is known beforehand it is started once

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
daemon_json:
  settings:
    log-driver: json-file
    log-opts: '{"max-size": "10m", "mode": "non-blocking"}'
    labels: '["env={{ tag `env` }}"]'
YAML
boot
within 60 joined web
[[ $(on docker info --format '{{.LoggingDriver}}') == json-file ]]

reboot
within 40 joined web
(($(log_of docker.service | grep -c 'Started docker.service\|Started Docker') == 1)) || fail "Docker was restarted though daemon.json was there"
