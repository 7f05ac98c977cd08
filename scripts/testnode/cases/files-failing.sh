# shellcheck shell=bash
# Name:     files that cannot be written or checked, units that do not start
# Node:     one that runs well
# Happens:  it gets a file on a read-only file system, an immutable one, one of nobody, a check that hangs, units
#           that fail or crash with theirs; the tag env changes; all is mended
# Must be:  each is told, what was there stays, all else is done; systemd is not fought; all comes right by itself
# Waits:    mostly

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
files: {splay: 0s}
YAML
boot
within 20 joined web
on mkdir /etc/ro
on mount -t tmpfs ro /etc/ro
for file in ro/a fixed checked; do
	on sh -c "echo before >/etc/$file"
done
on mount -o remount,ro /etc/ro
on chattr +i /etc/fixed
write /etc/systemd/system/fails.service <<<$'[Service]\nType=notify\nNotifyAccess=all\nExecStart=/bin/sh -c "grep -q good /etc/fails.conf && systemd-notify --ready && exec sleep 10000"'
write /etc/systemd/system/flaps.service <<<$'[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=1\nExecStart=/bin/sh -c "grep -q good /etc/flaps.conf && exec sleep 10000"'
items() { # UNITS' CHECK OWNER
	write /etc/ecsnode/conf.d/50-files.yaml <<-YAML
		files:
		  items:
		    /etc/ro/a: {content: after}
		    /etc/fixed: {content: after}
		    /etc/checked: {content: after, check: [$2]}
		    /etc/owned: {content: after, owner: $3}
		    /etc/fails.conf: {content: $1, restart: [fails.service]}
		    /etc/flaps.conf: {content: $1, restart: [flaps.service]}
		    /etc/fine: {content: '{{ tag "env" }}'}
	YAML
}
restarts() { on systemctl show flaps.service --property NRestarts --value; } # by systemd, since it was last started by others
crashed() { (($(restarts) > $1)) || fail "it was restarted by systemd $(restarts) times"; }

for unit in fails flaps; do
	write "/etc/$unit.conf" <<<good
	on systemctl start "$unit.service"
done
items bad "/bin/sleep, '1000'" nobody-at-all
within 30 status_is 1 "/etc/ro/a: read-only file system" "/etc/fixed: operation not permitted" "there is no user nobody-at-all" \
	"fails.service runs with older files, or is down" "flaps.service does not stay up (exit-code): see journalctl -u flaps.service"
for file in ro/a fixed checked; do
	[[ $(on cat "/etc/$file") == before ]]
done
[[ $(on cat /etc/fine) == prod ]]
tag env staging
within 20 on grep -qx staging /etc/fine
node_config_has "MY_ENVIRONMENT='staging'"
before_check=$(restarts)
within 45 status_is 1 "cannot change /etc/checked: its check says no: no end within the time"
crashed $((before_check + 5)) # nobody but systemd restarted it

on mount -o remount,rw /etc/ro
on chattr -i /etc/fixed
items good /bin/true root
within 90 status_is 0 "all well"
for file in ro/a fixed checked owned; do
	[[ $(on cat "/etc/$file") == after ]]
done
on systemctl --quiet is-active fails.service flaps.service
is_settled
