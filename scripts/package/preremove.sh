#!/bin/sh
# Before the files go. $1 is how many versions stay: 0 at a removal. What ecsnode
# has written for others, as node.config, stays: tasks use it.
if [ "$1" -eq 0 ]; then
	systemctl --no-reload disable ecsnode-early.service ecsnode-boot.service ecsnode.service ecsnode-shutdown.service || :
	if [ -d /run/systemd/system ]; then
		systemctl stop ecsnode.service ecsnode-shutdown.service ecsnode-boot.service ecsnode-early.service || :
	fi
fi
