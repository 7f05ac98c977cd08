#!/bin/sh
# After the transaction, when the files of the former version are gone too. Of
# what runs, only the daemon is restarted: it goes on with a drain where it was.
# ecsnode-early and ecsnode-boot belong to the boot they ran in, and Docker and
# the ECS agent are not concerned. Never waited for: this may run in a unit or
# in user data that the daemon is ordered after.
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
	if [ "$(systemctl is-system-running)" != stopping ]; then
		systemctl --no-block try-restart ecsnode.service || :
	fi
fi
