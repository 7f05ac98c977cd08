# shellcheck shell=bash
# Name:     user data takes long, and configures ecsnode at its end
# Node:     a new instance
# Happens:  user data sleeps 5 s, then writes conf.d
# Must be:  ECS starts only after it, with what it configured

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
user_data <<'SH'
sleep 5
mkdir -p /etc/ecsnode/conf.d
cat >/etc/ecsnode/conf.d/50-user-data.yaml <<'YAML'
node_config: {files: {node.config: {values: {TEAM: {value: search}}}}}
YAML
SH
boot
at 3
ecs_has_started 0
within 20 joined web
ecs_has_started 1
ecs_always_had "node.config:TEAM='search'"
[[ $(on systemctl is-system-running) == running ]]
