# shellcheck shell=bash
# Name:     a bundle under which Docker dies
# Node:     one that follows a channel and runs well
# Happens:  a bundle gives docker.service a drop-in with which it does not start
# Must be:  the node goes back to the image's own settings, and Docker and ECS run again

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
units: {restart_docker: always}
YAML
follows_channel <<<'watch: 3m'
bundle_file ecsnode.yaml <<<'{}'
push
boot
within 60 joined web

bundle_file ecsnode.yaml <<'YAML'
files:
  splay: 0s
  items:
    /etc/systemd/system/docker.service.d: {directory: true}
    /etc/systemd/system/docker.service.d/bad.conf:
      content: "[Service]\nExecStartPre=/bin/false\n"
      restart: [docker.service]
YAML
bad=$(push --force)
on ecsnode bundle pull
runs_bundle "$bad"
left() { not runs_bundle "$bad"; }
within 120 left
within 90 joined web
not on test -e /etc/systemd/system/docker.service.d/bad.conf
on ecsnode bundle show | grep -q "bundle $bad was bad"
