# shellcheck shell=bash
# Name:     the package: installed, upgraded in a drain, removed
# Node:     one without ecsnode
# Happens:  dnf installs the package; it reboots, drains, and dnf upgrades ecsnode; then removes it
# Must be:  nothing but the daemon is restarted, the drain goes on, settings and node.config stay

bare_node
sim POST apply '{lifecycle: spot}'
boot
install_package v1.0.0
on rpm -V ecsnode
not on systemctl --quiet is-active ecsnode.service
for unit in early boot shutdown; do on systemctl --quiet is-enabled --root=/ "ecsnode-$unit.service"; done
write /etc/ecsnode/ecsnode.yaml <<<"{cluster: '{{ tag \"cluster\" }}', drain: {flush: 5s}}"
user_data <<<'true'
reboot
within 20 joined web
sim POST apply '{services: [{name: web, desired: 2, elsewhere: 1, task: {stop_takes: 25s}}]}'
within 10 run_all web
running() { on systemctl show docker containerd ecs ecsnode-early ecsnode-boot ecsnode-shutdown --property Id,InvocationID; }
ran=$(running) pid=$(daemon MainPID) config=$(file_states)
spot_notice 90
within 5 ecs_says DRAINING
install_package v1.1.0
within 10 daemon_is_another_than "$pid"
[[ $(on ecsnode version) == "ecsnode v1.1.0 "* && $(running) == "$ran" ]]
within 40 drain_says "notice: spot" "ECS says DRAINING" "no task is left" "the node is drained"
[[ $(sim GET "counts?match=ecs/UpdateContainerInstancesState") == *":1}" && $(sim GET "counts?match=ecs/StopTask") == '{}' ]]
on grep -q 'flush: 5s' /etc/ecsnode/ecsnode.yaml

on dnf -y remove ecsnode
unchanged_since "$config"
not on test -e /usr/bin/ecsnode
on test -e /etc/ecsnode/ecsnode.yaml.rpmsave
on systemctl restart ecs.service
ecs_is_active
