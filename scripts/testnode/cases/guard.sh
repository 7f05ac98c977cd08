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
token_for() { # a container of this family asks for a token
	docker_run --rm --label "com.amazonaws.ecs.task-definition-family=$1" busybox \
		wget -q -T 3 -O - --post-data= http://169.254.169.254/latest/api/token 2>&1
}
refused() { token_for "$1" | grep -q "Connection refused"; }
answered() { token_for "$1" | grep -q "405\|403\|HTTP/1"; } # a POST is no PUT: an answer all the same
within 10 refused web
# The rule for a container is there soon after its start.
docker_run -d --name dd --label com.amazonaws.ecs.task-definition-family=datadog busybox sleep 1000 >/dev/null
within 10 on sh -c 'docker exec dd wget -q -T 3 -O - --post-data= http://169.254.169.254/latest/api/token 2>&1 | grep -q "405\|403\|HTTP/1"'
on iptables -F DOCKER-USER
within 90 refused web
on systemctl restart docker
within 90 refused web
on ip6tables -S | grep -q "fd00:ec2::254"
within 60 joined web

echo "guard: {enabled: false}" | write /etc/ecsnode/conf.d/90-guard.yaml
within 40 answered web
not on iptables -S DOCKER-USER | grep -q ecsnode
