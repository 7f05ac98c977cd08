# shellcheck shell=bash
# Name:     another dnf holds its lock for ever
# Node:     a new instance that is to upgrade ecs-init; boot may take 5 s
# Happens:  it boots while something else has the lock of dnf, and keeps it
# Must be:  ECS starts with its cluster once the budget is spent, status says why; nobody ends that dnf
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 5s}
packages: {ensure: {ecs-init: latest}}
YAML
user_data <<'SH'
/usr/libexec/testnode/publish-rpm ecs-init 1.1
mkdir -p /var/cache/dnf /var/lib/dnf
systemd-run --quiet --unit=other-dnf sleep infinity
pid=$(systemctl show --property MainPID --value other-dnf)
echo "$pid" | tee /var/cache/dnf/metadata_lock.pid >/var/lib/dnf/rpmdb_lock.pid
SH
boot
within 30 is_registered_in web
ecs_always_had ECS_CLUSTER=web "node.config:NODE_CLUSTER='web'"
boot_has failed
within 20 status_is 1 "1 FAILING" "another dnf is at work" "registered in web"
at 40
ecs_has_started 1
[[ $(on cat /var/cache/dnf/metadata_lock.pid) == "$(on systemctl show --property MainPID --value other-dnf)" ]]
[[ $(on rpm -q ecs-init) == ecs-init-1.0-1.noarch ]]

on systemctl stop other-dnf
on ecsnode apply || true
within 60 status_is 0 "all well" "ecs-init 1.1-1"
within 20 joined web
