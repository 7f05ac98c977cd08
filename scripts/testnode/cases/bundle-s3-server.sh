# shellcheck shell=bash
# Name:     bundles by a real S3 server
# Node:     a new instance that follows a channel in a bucket of versitygw
# Happens:  it boots; bundles are pushed, two at a time, promoted and rolled back; one is swapped; the server goes and comes back
# Must be:  as with the simulated S3: the node runs what the channel says, each fault is told, and costs nothing

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
follows_channel <<<'watch: 0s'
s3_server
says() { bundle_file ecsnode.yaml <<<"files: {splay: 0s, items: {/etc/motd.app: {content: $1}}}"; }
says one
one=$(push)
boot
within 60 joined web
ecs_has_started 1
runs_bundle "$one" "stable of stable, serial 1"
[[ $(on cat /etc/motd.app) == one ]]
on ecsnode bundle pull | grep -q "$one" # unchanged

says two
of_channel push "$work/$node/bundle" --force # a canary for one node in ten
of_channel promote 100% --cluster web --force
on ecsnode bundle pull
two=$(on readlink /var/lib/ecsnode/bundles/active)
runs_bundle "$two" "serial 3"
[[ $two != "$one"* ]]
of_channel rollback --reason "two is slow"
on ecsnode bundle pull
runs_bundle "$one" "serial 4"

# Two push at once: whoever is late is told so, and nothing is lost.
says three
push --force >/dev/null &
other=0
push --force >/dev/null || other=$?
wait "$!" || ((other == 0)) || fail "neither could push"
on ecsnode bundle pull
within 5 on grep -qx three /etc/motd.app

says four
four=$(push --force)
echo "something else" >"$(echo "$work/$node/s3/buckets/acme-config/nodes/bundles/$four"*)"
not on ecsnode bundle pull
status_is 1 "bundle" "it is another archive than the channel names"
[[ $(on cat /etc/motd.app) == three ]]
s3_server_ends
not on ecsnode bundle pull
status_is 1 "cannot read s3://acme-config/nodes/channels/stable: unavailable"
ecs_is_active
s3_server
five=$(says five && push --force)
on ecsnode bundle pull
runs_bundle "$five"
within 20 status_is 0 "all well"
