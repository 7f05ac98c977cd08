#!/bin/sh
# After the files are gone. Without it the drop-ins would keep asking a program
# that is no more whether Docker and the ECS agent may start.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
fi
