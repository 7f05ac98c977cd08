# shellcheck shell=bash
# Name:     a command at its time that prints 1 GB
# Node:     one that runs it, with 64 MiB of memory for it
# Happens:  it prints 1 GB and then what counts
# Must be:  it ends well; the end of it is kept, in a small file, and nothing on the disk or in memory grows

running_node
write /etc/ecsnode/conf.d/50-flood.yaml <<'YAML'
schedules:
  items:
    flood: {cron: '@yearly', memory: 64, command: [/bin/sh, -c, 'yes "one of many lines" | head -c 1000000000; echo; echo the end']}
YAML
known() { on ecsnode schedules | grep -q flood; }
within 40 known
kept() { on du -sk --apparent-size /run/ecsnode /var/lib/ecsnode /var/log | awk '{n += $1} END {print n}'; }
before_kb=$(kept)
on ecsnode schedules run flood
most=0
for _ in {1..300}; do
	size=$(on sh -c 'stat -c %s /run/ecsnode/jobs/schedule-flood-*.log 2>/dev/null || echo 0')
	if ((size > most)); then
		most=$size
	fi
	if [[ $(on ecsnode schedules) == *"last "*": "* ]]; then
		break
	fi
	sleep 0.1
done
echo "the file had $most bytes at most; $before_kb kB before, $(kept) kB after"
((most > 0 && most <= 65536))
(($(kept) < before_kb + 4096))
[[ $(on ecsnode schedules) == *"success"*"one of many lines"*"the end"* ]]
on rm /etc/ecsnode/conf.d/50-flood.yaml
