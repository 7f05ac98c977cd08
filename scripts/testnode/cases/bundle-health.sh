# shellcheck shell=bash
# Name:     a bundle that does the node no good
# Node:     one that follows a channel and runs well
# Happens:  a bundle with a unit that does not start
# Must be:  it goes back, takes back what was done, and says so in its status and the journal
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
follows_channel <<<'watch: 30s'
bundle_file ecsnode.yaml <<'YAML'
files: {splay: 0s, items: {/etc/motd.app: {content: good}}}
YAML
good=$(push)
boot
within 60 joined web
good_by_time() { on sh -c 'ecsnode bundle show --json | grep last_good'; }
within 150 good_by_time

bundle_file ecsnode.yaml <<'YAML'
files:
  splay: 0s
  items:
    /etc/motd.app: {content: bad}
    /etc/systemd/system/bad.service: {content: "[Service]\nType=oneshot\nExecStart=/bin/false\n"}
services: {units: {bad.service: {state: started}}}
YAML
bad=$(push --force)
on ecsnode bundle pull
runs_bundle "$bad"
within 60 runs_bundle "$good" "went back from $bad" "services failing"
gone() { not on test -e /etc/systemd/system/bad.service; }
within 20 gone
[[ $(on cat /etc/motd.app) == good ]]
within 20 status_is 0 "bundle $bad was bad for this node"
log_says ecsnode.service "was bad for this node"
