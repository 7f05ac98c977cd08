# shellcheck shell=bash
# Name:     Docker makes its chain for IPv6 after the guard
# Node:     one that runs well, with the guard on
# Happens:  ip6tables gets a chain DOCKER-USER, as from a Docker that is restarted with ip6tables; the guard is turned off
# Must be:  nothing of the guard is left, in the chain where it was at first either

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
ecs_config: {awsvpc_block_imds: true}
guard: {enabled: true}
YAML
boot
within 20 joined web
[[ $(on ip6tables -S FORWARD) == *fd00:ec2::254* ]]
on ip6tables -N DOCKER-USER
on ip6tables -I FORWARD -j DOCKER-USER
docker_run --rm busybox true # what happens at Docker is seen at once
within 10 on sh -c 'ip6tables -S DOCKER-USER | grep -q fd00:ec2::254'
echo "guard: {enabled: false}" | write /etc/ecsnode/conf.d/90-guard.yaml
within 20 status_is 0 "off: containers may reach instance metadata"
[[ $(on ip6tables -S) != *"ecsnode guard"* ]]
