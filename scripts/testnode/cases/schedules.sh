# shellcheck shell=bash
# Takes:    long
# Name:     what runs at set times, and how it ends
# Node:     one that was off for three minutes, with a command each minute, one that is paused, and others that run by hand
# Happens:  it boots; each is run: one fails, one hangs, one ignores its end, one takes all memory, some leave another running, some do so in a container
# Must be:  each runs once and says how it ended; nothing is left running; what is paused does not run

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
schedules:
  items:
    each-minute: {cron: '* * * * *', missed: run-once, command: [/bin/sh, -c, 'echo "$ECSNODE_SCHEDULE at $ECSNODE_TICK" | tee -a /var/lib/each-minute']}
    pauses: {cron: '* * * * *', missed: run-once, command: [/bin/sh, -c, 'echo run >>/var/lib/pauses']}
    fails: {cron: '@yearly', command: [/bin/sh, -c, 'echo "no such thing" >&2; exit 3']}
    hangs: {cron: '@yearly', timeout: 2s, command: [/bin/sh, -c, 'echo begun; sleep 86399']}
    deaf: {cron: '@yearly', timeout: 2s, command: [/bin/sh, -c, 'trap "" TERM; echo begun; sleep 86398; sleep 86398']}
    leaves: {cron: '@yearly', command: [/bin/sh, -c, 'setsid sleep 86397 & echo forked']}
    hog: {cron: '@yearly', memory: 32, command: [/bin/sh, -c, 'echo begun; tail /dev/zero']}
    inside: {cron: '@yearly', exec: {family: web, command: [sh, -c, 'echo "in $HOSTNAME"; exit 4']}}
    hangs-inside: {cron: '@yearly', timeout: 2s, exec: {family: web, command: [sh, -c, 'echo begun inside; setsid sleep 86395 & sleep 86396; echo never']}}
    leaves-inside: {cron: '@yearly', exec: {family: web, command: [sh, -c, 'setsid sleep 86394 & echo forked inside']}}
YAML
settled=$(date -u -d '-3 minutes' +%FT%TZ)
put /var/lib/ecsnode/schedules.json <<JSON
{"schedules": {"each-minute": {"ticks": "* * * * * in UTC", "settled": "$settled"}, "pauses": {"ticks": "* * * * * in UTC", "settled": "$settled"}}}
JSON
put /var/lib/ecsnode/requests/schedule-pause-pauses.json <<<'{"id": "1"}'
boot
within 20 joined web
listed() { # NAME WORDS...
	local text words
	text=$(on ecsnode schedules)
	for words in "${@:2}"; do
		[[ $(grep -A3 -E "^  $1 " <<<"$text") == *"$words"* ]] || fail "schedules do not say $words of $1:"$'\n'"$text" || return
	done
}
ended() { # STATUS WORDS NAME
	local got=0 text
	text=$(on ecsnode schedules run --wait "$3" 2>&1) || got=$?
	[[ $got == "$1" && $text == *"$2"* ]] || fail "$3 ended with $got: $text"
}
alone() { not on pgrep -f "sleep $1"; }

within 10 listed each-minute "success" "each-minute at"
within 10 listed pauses paused "left out" "it is paused"
web=$(docker_run -d --hostname here --label com.amazonaws.ecs.task-definition-family=web --label com.amazonaws.ecs.container-name=web \
	--label com.amazonaws.ecs.task-arn=arn:aws:ecs:eu-west-1:123456789012:task/web/1 busybox sleep 100000)
for name in hangs deaf hog hangs-inside; do
	on ecsnode schedules run "$name"
done
ended 1 "no such thing"$'\n'"error: fails: exit status 3" fails
ended 0 "ecsnode: it left 1 running, which was ended" leaves
alone 86397
ended 1 "in here"$'\n'"error: inside: exit status 4" inside
ended 0 "forked inside"$'\n'"ecsnode: it left 1 running, which was ended" leaves-inside
alone 86394
within 5 listed hangs "timed out" begun
alone 86399
within 5 listed hangs-inside "timed out" "begun inside"
alone 86395
alone 86396
[[ $(on docker inspect --format '{{.State.Running}}' "$web") == true ]]
# Where the host has cgroup v1, as this node then does, only the process that took the memory is killed.
within 5 listed hog "last "
on ecsnode schedules | grep -A1 '^  hog' | grep -e 'exit status 137' -e 'killed: it took more memory than it may'
within 15 listed deaf "timed out" begun
alone 86398
status_is 0 "fails: the run of" "exit status 3" "hangs-inside: the run of"
no_unit() { [[ -z $(on systemctl list-units --all --plain --no-legend 'ecsnode-job-schedule-*') ]]; }
within 5 no_unit

on ecsnode schedules pause each-minute
within 2 listed each-minute paused
on ecsnode schedules resume each-minute
within 2 listed each-minute idle
ran=$(on sort /var/lib/each-minute)
[[ -n $ran && -z $(uniq -d <<<"$ran") ]]
not on test -e /var/lib/pauses
on ecsnode schedules resume pauses
within 2 listed pauses idle
[[ $(on ecsnode schedules --json | grep -c '"name"') == 10 ]]
