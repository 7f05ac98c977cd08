# shellcheck shell=bash
# Name:     the guard
# Node:     one that runs well, with the guard on; datadog may reach instance metadata
# Happens:  containers ask for it; the rules are flushed; Docker is restarted; the guard is turned off
# Must be:  only datadog gets an answer, and others an error at once; ecsnode goes on reading it; off lets all through

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
ecs_config: {awsvpc_block_imds: true}
guard: {enabled: true, allow_families: [datadog]}
YAML
boot
within 20 joined web
# What a container of this image is told when it asks for a token.
ask() { printf 'PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n' | "$@" nc -w 3 169.254.169.254 80 2>&1; }
refused() { [[ $(ask docker_run -i --rm busybox) == *"Connection refused"* ]]; }
answered() { [[ $(ask docker_run -i --rm busybox) == *"200 OK"* ]]; }
datadog_answered() { [[ $(ask on docker exec -i dd) == *"200 OK"* ]]; }
within 10 refused
# The rule for a container is there soon after its start.
docker_run -d --name dd --label com.amazonaws.ecs.task-definition-family=datadog busybox sleep 1000 >/dev/null
within 10 datadog_answered
refused
on iptables -F DOCKER-USER
within 90 refused
on systemctl restart docker
within 90 refused
[[ $(on ip6tables -S) == *"fd00:ec2::254"* ]]
within 60 joined web

echo "guard: {enabled: false}" | write /etc/ecsnode/conf.d/90-guard.yaml
within 40 answered
[[ $(on iptables -S DOCKER-USER) != *ecsnode* ]]
