# shellcheck shell=bash
# Name:     bundles that are cut off while they come into effect
# Node:     one that follows a channel and runs well
# Happens:  the daemon is killed at several instants of a pull; then the power is cut in one; then the disk is full
# Must be:  each time what is in effect is one whole bundle, and in the end it is the one that was pushed; status says what keeps it

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
follows_channel <<<'watch: 0s' # how often a daemon dies under a bundle is another case
bundle_file ecsnode.yaml <<<'files: {splay: 0s, items: {/etc/motd.app: {source: motd}}}'
for i in {1..200}; do
	bundle_file "files/$i" <<<"$i"
done
# another_bundle TEXT is pushed.
another_bundle() {
	bundle_file files/motd <<<"$1"
	pushed=$(push --force)
}
# runs_whole says which bundle is in effect. Packed again it must be the same bytes.
runs_whole() {
	local link again
	link=$(on readlink /var/lib/ecsnode/bundles/active)
	on rm -f /run/again.tar.zst
	again=$(on ecsnode bundle build "/var/lib/ecsnode/bundles/$link" --output /run/again.tar.zst)
	[[ $again == *"${link:0:12}"* ]] || fail "of $link there is but a part: $again"
}
another_bundle first
boot
within 60 joined web
runs_bundle "$pushed"

for delay in 0.1 0.2 0.35; do
	another_bundle "after $delay"
	pid=$(daemon MainPID)
	on ecsnode bundle pull >/dev/null 2>&1 &
	sleep "$delay"
	on kill -KILL "$pid"
	within 15 daemon_is_another_than "$pid"
	runs_whole
	wait $! || true
	within 20 runs_bundle "$pushed"
done

another_bundle "after a power cut"
on ecsnode bundle pull >/dev/null 2>&1 &
sleep 0.2
cut_power
wait $! || true
boot
runs_whole
within 60 runs_bundle "$pushed"
within 60 joined web
[[ $(on cat /etc/motd.app) == "after a power cut" ]]

former=$pushed
on sh -c 'for i in 1 2 3 4 5; do dd if=/dev/zero of=/etc/fill bs=1k oflag=append conv=notrunc; sync -f /etc; done; truncate -s -100k /etc/fill' 2>/dev/null # little is left
another_bundle "on a full disk"
not on ecsnode bundle pull # whose words are in the log
runs_bundle "$former" "no space left on device"
runs_whole
on rm /etc/fill
on ecsnode bundle pull
runs_bundle "$pushed"
