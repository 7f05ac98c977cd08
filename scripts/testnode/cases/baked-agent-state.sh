# shellcheck shell=bash
# Name:     an image with the state of another node's agent
# Node:     a new instance whose image was made from a registered node
# Happens:  it boots, and reboots
# Must be:  the state is gone before ECS starts, which registers anew; at the reboot nothing is removed

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
put /var/lib/ecs/data/ecs_agent_data.json <<'JSON'
{"Data":{"Cluster":"old","ContainerInstanceArn":"arn:aws:ecs:eu-west-1:123456789012:container-instance/old/0123456789abcdef0123456789abcdef","EC2InstanceID":"i-0fedcba9876543210"},"Version":32}
JSON
boot
within 20 joined web
log_says ecsnode-boot.service "came with the image"
reboot
within 20 joined web
ecs_has_started 2
not log_says ecsnode-boot.service "removed"
