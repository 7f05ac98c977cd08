# shellcheck shell=bash
# Name:     the repository hangs
# Node:     a new instance that is to upgrade ecs-init; boot may take 5 s
# Happens:  the repository takes connections and never answers
# Must be:  ECS starts with its cluster once the budget is spent; dnf goes on by itself and is not killed

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 5s}
packages: {ensure: {ecs-init: latest}}
YAML
user_data <<'SH'
systemd-run --quiet --unit=mute python3 -c '
import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 9))
s.listen(100)
time.sleep(10000)'
sed -i 's,^baseurl=.*,baseurl=http://127.0.0.1:9/,' /etc/yum.repos.d/amazonlinux.repo
SH
boot
within 30 is_registered_in web
ecs_always_had ECS_CLUSTER=web "node.config:NODE_CLUSTER='web'"
on systemctl --quiet is-active ecsnode-job-packages.service
on systemctl restart ecsnode.service
within 10 on ecsnode ready identity
on systemctl --quiet is-active ecsnode-job-packages.service
