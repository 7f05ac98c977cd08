# shellcheck shell=bash
# Name:     a hop limit of 1
# Node:     one that runs well, with the guard off
# Happens:  answers of instance metadata live one hop only; a container asks, and the host; ecsnode is restarted
# Must be:  the container waits in vain, the host and ecsnode get their answers, the node stays joined

running_node
ask() { printf 'PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n' | "$@" 169.254.169.254 80 2>&1; }
from_container() { ask docker_run -i --rm busybox nc -w 3; }
from_host() { ask on busybox nc -w 3; }
[[ $(from_container) == *"200 OK"* ]]

imds_hop_limit 1
[[ $(from_container) == *"timed out"* ]]
[[ $(from_host) == *"200 OK"* ]]
on systemctl restart ecsnode.service
tag env staging
within 20 node_config_has "MY_ENVIRONMENT='staging'"
within 20 joined web

imds_hop_limit 2
[[ $(from_container) == *"200 OK"* ]]
imds_hop_limit 64
tag env prod
within 20 node_config_has "MY_ENVIRONMENT='prod'"
within 20 joined web
ecs_has_started 0
