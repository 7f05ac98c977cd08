# shellcheck shell=bash
# Name:     a bundle under which Docker dies
# Node:     one that follows a channel and runs well
# Happens:  a bundle gives Docker a directory for its data that cannot be
# Must be:  the node goes back to the image's own settings, and Docker and ECS run again
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
follows_channel <<<'watch: 3m'
bundle_file ecsnode.yaml <<<'{}'
push
boot
within 60 joined web

bundle_file ecsnode.yaml <<'YAML'
daemon_json: {settings: {data-root: /proc/nowhere}}
YAML
bad=$(push --force)
on ecsnode bundle pull
runs_bundle "$bad"
left() { not runs_bundle "$bad"; }
within 150 left
within 120 joined web
not on grep -q nowhere /etc/docker/daemon.json
on ecsnode bundle show | grep -q "bundle $bad was bad"
