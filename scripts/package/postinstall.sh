#!/bin/sh
# After the files are in place. $1 is how many versions are installed now: 1 at
# an installation. Nothing is started: in an image nothing may run, and on a
# node that runs it is the operator who says when.
if [ "$1" -eq 1 ]; then
	systemctl --no-reload preset ecsnode-early.service ecsnode-boot.service ecsnode.service ecsnode-shutdown.service || :
	systemd-tmpfiles --create ecsnode.conf || :
fi
