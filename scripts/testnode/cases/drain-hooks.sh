# shellcheck shell=bash
# Name:     hooks that hang, fail and write much
# Node:     one on Spot that runs a task of a service; its records go to S3
# Happens:  a Spot notice; one hook hangs, one fails, one writes 1 MB, one may be written by others
# Must be:  the node drains in time all the same; the record tells of each, and is in S3
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
drain: {flush: 1s, hook_timeout: 5s, upload: {bucket: records}}
YAML
sim POST apply '{lifecycle: spot, buckets: [{name: records}]}'
boot
within 20 joined web
sim POST apply '{services: [{name: web, desired: 2, elsewhere: 1, minimum_healthy_percent: 50, task: {stop_takes: 30s}}]}'
within 10 run_all web

hook() { on install -D -m "$2" /dev/stdin "/etc/ecsnode/hooks/notice.d/$1"; }
hook 10-hangs 755 <<<$'#!/bin/sh\ntrap "" TERM\nsleep 1000'
hook 20-fails 755 <<<$'#!/bin/sh\nexit 3'
hook 30-writes 755 <<<$'#!/bin/sh\nhead -c 1048576 /dev/zero | tr "\\0" x | fold -w 100'
hook 40-open 777 <<<$'#!/bin/sh\ntouch /run/hook-open'
hook 50-tells 755 <<<$'#!/bin/sh\necho "$ECSNODE_EVENT $ECSNODE_NOTICES $ECSNODE_SECONDS_LEFT" >/run/hook-told'

spot_notice 90
within 2 ecs_says DRAINING
within 15 status_is 0 "DRAINED"
on grep -qE '^notice spot/terminate/[^ ]+ (8[0-9]|90)$' /run/hook-told
not on test -e /run/hook-open
within 20 drain_says "hook notice/10-hangs failed: timeout"
drain_says "hook notice/40-open is refused" "hook notice/20-fails failed: exit-code, exit status 3"
in_s3() { sim GET state | grep -qE '"drains/i-[0-9a-f]+/[0-9T.]+Z.json": *[0-9]{3,}'; }
within 10 in_s3
within 2 status_is 0 "s3://records/drains/"
