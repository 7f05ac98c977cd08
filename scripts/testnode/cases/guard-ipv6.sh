# shellcheck shell=bash
# Name:     the guard over IPv6
# Node:     one that runs well, with the guard on and a Docker network that has IPv6; datadog may reach instance metadata
# Happens:  containers ask for it at fd00:ec2::254; the rules are flushed; the guard is turned off
# Must be:  only datadog gets an answer, and others an error at once; off lets all through

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
ecs_config: {awsvpc_block_imds: true}
guard: {enabled: true, allow_families: [datadog]}
YAML
boot
within 20 joined web
on docker network create --ipv6 --subnet fd00:aa::/64 six >/dev/null
ip -n "testnode-$node-aws" route add fd00:aa::/64 via fd00:10::10
# What a container on that network is told when it asks for a token.
ask() { printf 'PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n' | "$@" nc -w 3 fd00:ec2::254 80 2>&1; }
refused() { [[ $(ask docker_run -i --rm --network six busybox) == *"Connection refused"* ]]; }
answered() { [[ $(ask docker_run -i --rm --network six busybox) == *"200 OK"* ]]; }
datadog_answered() { [[ $(ask on docker exec -i dd) == *"200 OK"* ]]; }
refused
docker_run -d --name dd --network six --label com.amazonaws.ecs.task-definition-family=datadog busybox sleep 1000 >/dev/null
within 10 datadog_answered
refused
on ip6tables -F FORWARD
within 90 refused
within 20 joined web

echo "guard: {enabled: false}" | write /etc/ecsnode/conf.d/90-guard.yaml
within 40 answered
[[ $(on ip6tables -S) != *ecsnode* ]]
