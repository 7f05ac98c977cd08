# shellcheck shell=bash
# Name:     the repository refuses
# Node:     a new instance that is to upgrade ecs-init; boot may take 5 s
# Happens:  the repository is down while it boots, and comes back
# Must be:  ECS starts with its cluster once the budget is spent, status says what is wrong; then it is upgraded

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 5s}
packages: {ensure: {ecs-init: latest}}
YAML
user_data <<'SH'
/usr/libexec/testnode/publish-rpm ecs-init 1.1
sed -i 's,^baseurl=.*,baseurl=http://127.0.0.1:9/,' /etc/yum.repos.d/amazonlinux.repo
SH
boot
within 30 is_registered_in web
ecs_always_had ECS_CLUSTER=web "node.config:NODE_CLUSTER='web'"
is_ready
within 20 status_is 1 "1 FAILING" "packages" "cannot install or upgrade ecs-init: dnf:" "registered in web"

on sed -i 's,^baseurl=.*,baseurl=file:///srv/repo,' /etc/yum.repos.d/amazonlinux.repo
on ecsnode apply || true
within 60 status_is 0 "all well" "ecs-init 1.1-1"
within 20 ecs_has_started 2
within 20 joined web
[[ $(on cat /var/lib/testnode/ecs/2/version) == 1.1 ]] # the agent was restarted for it
