# shellcheck shell=bash
# Name:     another dnf holds its lock for 20 s
# Node:     a new instance that is to upgrade ecs-init
# Happens:  it boots while something else has the lock of dnf
# Must be:  boot tries again until the lock is free, and ECS starts upgraded
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
packages: {ensure: {ecs-init: latest}}
YAML
user_data <<'SH'
/usr/libexec/testnode/publish-rpm ecs-init 1.1
mkdir -p /var/cache/dnf /var/lib/dnf
systemd-run --quiet --unit=other-dnf sleep 20
pid=$(systemctl show --property MainPID --value other-dnf)
echo "$pid" | tee /var/cache/dnf/metadata_lock.pid >/var/lib/dnf/rpmdb_lock.pid
SH
boot
within 60 joined web
ecs_has_started 1
on grep -Fqx 1.1 /var/lib/testnode/ecs/1/version
log_says ecsnode-boot.service "another dnf is at work"
