# shellcheck shell=bash
# Name:     a repository that may be skipped
# Node:     a new instance that is to upgrade ecs-init; boot may take 5 s
# Happens:  the repository is down, and dnf is configured to skip it and report success
# Must be:  that is no success and not "nothing newer"; ECS starts with its cluster, and is upgraded later

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 5s}
packages: {ensure: {ecs-init: latest}}
YAML
user_data <<'SH'
/usr/libexec/testnode/publish-rpm ecs-init 1.1
sed -i 's,^baseurl=.*,baseurl=http://127.0.0.1:9/\nskip_if_unavailable=1,' /etc/yum.repos.d/amazonlinux.repo
echo skip_if_unavailable=True >>/etc/dnf/dnf.conf
SH
boot
within 30 is_registered_in web
ecs_always_had ECS_CLUSTER=web "node.config:NODE_CLUSTER='web'"
within 20 status_is 1 "1 FAILING" "cannot install or upgrade ecs-init: dnf:" "registered in web"
[[ $(on ecsnode status) != *"nothing newer"* ]]
[[ $(on dnf -y --refresh upgrade ecs-init 2>&1) == *"Nothing to do"* ]] # what dnf makes of it by itself
within 20 status_is 1 "1 FAILING" "cannot install or upgrade ecs-init: dnf:"
[[ $(on ecsnode status) != *"nothing newer"* ]]

on sed -i 's,^baseurl=.*,baseurl=file:///srv/repo,' /etc/yum.repos.d/amazonlinux.repo
on ecsnode apply || true
within 60 status_is 0 "all well" "ecs-init 1.1-1"
within 20 joined web
