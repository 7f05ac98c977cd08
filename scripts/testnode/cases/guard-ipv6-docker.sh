# shellcheck shell=bash
# Name:     the guard beside a Docker that filters IPv6
# Node:     one that runs well, with the guard on
# Happens:  Docker is restarted with ip6tables; a container asks for fd00:ec2::254
# Must be:  an error at once: Docker's own rules do not come before that of the guard

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
ecs_config: {awsvpc_block_imds: true}
guard: {enabled: true}
YAML
boot
within 20 joined web
echo '{"experimental": true, "ip6tables": true}' | write /etc/docker/daemon.json
on systemctl restart docker
on docker network create --ipv6 --subnet fd00:aa::/64 six >/dev/null
ip -n "testnode-$node-aws" route add fd00:aa::/64 via fd00:10::10
# What a container on that network is told when it asks for a token.
ask() { printf 'PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n' | "$@" nc -w 3 fd00:ec2::254 80 2>&1; }
refused() { [[ $(ask docker_run -i --rm --network six busybox) == *"Connection refused"* ]]; }
within 90 refused
within 60 joined web
