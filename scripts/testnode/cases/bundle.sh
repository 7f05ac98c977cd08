# shellcheck shell=bash
# Name:     a node gets its settings by bundles
# Node:     a new instance that follows a channel
# Happens:  it boots; another bundle, of 200 files, is pushed; it reboots
# Must be:  ECS starts once, with what the bundle sets; the second one is in effect within a second; after the reboot Docker starts once, with its settings
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
follows_channel <<<'watch: 30s'
bundle_file ecsnode.yaml <<'YAML'
node_config: {files: {node.config: {values: {FROM: {value: bundle}}}}}
daemon_json: {settings: {log-driver: json-file, labels: '["env={{ tag `env` }}"]'}}
files: {splay: 0s, items: {/etc/motd.app: {template: motd}}}
YAML
bundle_file templates/motd <<<'one in {{ tag "env" }}'
first=$(push)
boot
within 60 joined web
ecs_has_started 1
ecs_always_had "node.config:FROM='bundle'"
runs_bundle "$first" "stable of stable, serial 1"
[[ $(on cat /etc/motd.app) == "one in prod" ]]
[[ $(on docker info --format '{{.LoggingDriver}}') == json-file ]]

bundle_file templates/motd <<<'two in {{ tag "env" }}'
for i in {1..200}; do
	bundle_file "files/$i" <<<"$i"
done
second=$(push --force)
began=${EPOCHREALTIME/[.,]/}
on ecsnode bundle pull
took=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
echo "figure: a bundle of 200 files took $took ms"
runs_bundle "$second" "goes back to the baked configuration"
says() { [[ $(on cat /etc/motd.app) == "$1 in prod" ]]; }
within 5 says two
ecs_has_started 1
well() { on sh -c "ecsnode bundle show --json | grep 'last_good.*$second'"; }
within 90 well

reboot
within 40 joined web
runs_bundle "$second"
(($(log_of docker.service | grep -c 'Started docker.service\|Started Docker') == 1)) || fail "Docker was restarted though daemon.json was there"
[[ $(on docker info --format '{{.LoggingDriver}}') == json-file ]]
