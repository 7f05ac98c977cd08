# shellcheck shell=bash
# Name:     power cuts during boot
# Node:     a new instance, whose metadata takes 1 s for an answer
# Happens:  the power is cut while boot asks, then as soon as node.config is there, then as soon as ecs.config is
# Must be:  what is on the disk is whole or not there; each boot goes on, the last one as a fresh one

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
whole_or_absent() {
	# shellcheck disable=SC2016 # expanded on the node
	on_disk sh -c '[ ! -e etc/container_config/node.config ] || grep -qx "NODE_CLUSTER=.web." etc/container_config/node.config'
	on_disk sh -c '[ ! -s etc/ecs/ecs.config ] || grep -qx ECS_CLUSTER=web etc/ecs/ecs.config'
}

ail imds '{latency: 1s}'
boot
within 10 boot_has activating
cut_power
whole_or_absent

heal
boot
within 20 on test -e /etc/container_config/node.config
cut_power
whole_or_absent

boot
within 20 on grep -qx ECS_CLUSTER=web /etc/ecs/ecs.config
cut_power
whole_or_absent

boot
within 60 joined web
