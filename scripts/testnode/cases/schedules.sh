# shellcheck shell=bash
# Takes:    long
# Name:     what runs at set times, and how it ends
# Node:     one whose configuration has a command each minute, and others that run by hand
# Happens:  a minute passes; each is run: one fails, one hangs, one ignores its end, one leaves another running, one hangs in a container
# Must be:  each runs once and says how it ended; nothing is left running; a pause keeps them from running

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
schedules:
  items:
    each-minute: {cron: '* * * * *', command: [/bin/sh, -c, 'echo "$ECSNODE_SCHEDULE at $ECSNODE_TICK" | tee -a /var/lib/each-minute']}
    fails: {cron: '@yearly', command: [/bin/sh, -c, 'echo "no such thing" >&2; exit 3']}
    hangs: {cron: '@yearly', timeout: 2s, command: [/bin/sh, -c, 'echo begun; sleep 86399']}
    deaf: {cron: '@yearly', timeout: 2s, command: [/bin/sh, -c, 'trap "" TERM; echo begun; sleep 86398; sleep 86398']}
    leaves: {cron: '@yearly', command: [/bin/sh, -c, 'setsid sleep 86397 & echo forked']}
    inside: {cron: '@yearly', exec: {family: web, command: [sh, -c, 'echo "in $HOSTNAME"; exit 4']}}
    hangs-inside: {cron: '@yearly', timeout: 2s, exec: {family: web, command: [sh, -c, 'echo begun inside; sleep 86396; echo never']}}
YAML
boot
within 20 joined web
listed() { # NAME WORDS...
	local text words
	text=$(on ecsnode schedules)
	for words in "${@:2}"; do
		[[ $(grep -A2 -E "^  $1 " <<<"$text") == *"$words"* ]] || fail "schedules do not say $words of $1:"$'\n'"$text" || return
	done
}
ended() { # STATUS WORDS NAME
	local got=0 text
	text=$(on ecsnode schedules run --wait "$3" 2>&1) || got=$?
	[[ $got == "$1" && $text == *"$2"* ]] || fail "$3 ended with $got: $text"
}
alone() { not on pgrep -f "sleep $1"; }

ended 1 "no such thing"$'\n'"error: fails: exit status 3" fails
ended 1 "begun"$'\n'"error: hangs: timed out" hangs
alone 86399
ended 1 "error: deaf: timed out" deaf
alone 86398
ended 0 "ecsnode: it left 1 running, which was ended" leaves
alone 86397
web=$(docker_run -d --hostname here --label com.amazonaws.ecs.task-definition-family=web --label com.amazonaws.ecs.container-name=web \
	--label com.amazonaws.ecs.task-arn=arn:aws:ecs:eu-west-1:123456789012:task/web/1 busybox sleep 100000)
ended 1 "in here"$'\n'"error: inside: exit status 4" inside
ended 1 "begun inside"$'\n'"error: hangs-inside: timed out" hangs-inside
alone 86396
[[ $(on docker inspect --format '{{.State.Running}}' "$web") == true ]]
status_is 0 "fails: the run of" "exit status 3" "hangs-inside: the run of"
no_unit() { [[ -z $(on systemctl list-units --all --plain --no-legend 'ecsnode-job-schedule-*') ]]; }
within 5 no_unit

within 60 on test -s /var/lib/each-minute
within 5 listed each-minute "success" "each-minute at"
on ecsnode schedules pause each-minute
times=$(on sh -c 'wc -l </var/lib/each-minute')
within 2 listed each-minute paused
sleep 61
[[ $(on sh -c 'wc -l </var/lib/each-minute') == "$times" && -z $(on sh -c 'sort /var/lib/each-minute | uniq -d') ]]
on ecsnode schedules resume each-minute
within 2 listed each-minute idle
[[ $(on ecsnode schedules --json | grep -c '"name"') == 7 ]]
