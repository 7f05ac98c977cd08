# shellcheck shell=bash
# Name:     a bundle under which ecsnode does not run
# Node:     one that follows a channel, with a new bundle that is being watched
# Happens:  the daemon is killed three times
# Must be:  at the fourth start it runs with the bundle before, and says why; an orderly restart counts for nothing

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
follows_channel <<<'watch: 20m'
bundle_file ecsnode.yaml <<<'files: {splay: 0s, items: {/etc/motd.app: {content: new}}}'
new=$(push)
boot
within 60 joined web
for _ in {1..5}; do
	on systemctl restart ecsnode.service
done
runs_bundle "$new"
die_once() {
	local pid
	pid=$(daemon MainPID)
	on kill -KILL "$pid"
	within 15 daemon_is_another_than "$pid"
}
for _ in {1..2}; do
	die_once
	runs_bundle "$new"
done
die_once
not on test -e /var/lib/ecsnode/bundles/active
log_says ecsnode.service "ecsnode was started 3 times under it and did not run"
within 30 joined web
not on test -e /etc/motd.app
on ecsnode bundle show | grep -q "bundle $new was bad"
