# shellcheck shell=bash
# Name:     templates/examples: rsyslog-remote, chrony, sysctl
# Node:     one that runs, with the real rsyslogd, chronyd and systemd-sysctl
# Happens:  it gets the three examples
# Must be:  what is logged arrives at the other host, chronyd asks 169.254.169.123, the settings are in effect

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
files: {splay: 0s}
YAML
sim POST apply '{parameters: [{name: /fleet/log-host, value: 127.0.0.1}]}'
boot
within 20 joined web
# As on the AMI. A node has no kernel of its own: all but net.* is read-only there.
on systemctl --quiet unmask systemd-sysctl.service
on systemctl --quiet enable --now rsyslog.service chrony.service systemd-sysctl.service

publish_rpm rsyslog 8.2204.0
example rsyslog-remote write
example sysctl write
sed 's|/etc/chrony.conf|/etc/chrony/chrony.conf|' "$testnode/../../templates/examples/chrony.yaml" | write /etc/ecsnode/conf.d/30-chrony.yaml

has_source() { on chronyc -n sources | grep -F 169.254.169.123; }
within 40 has_source
sysctl_is() { [[ $(on cat "/proc/sys/$1") == "$2" ]] || fail "$1 is $(on cat "/proc/sys/$1")"; }
within 20 sysctl_is net/ipv4/conf/all/log_martians 1
sysctl_is net/ipv4/conf/all/send_redirects 0
sysctl_is net/ipv4/ip_forward 1
within 20 on grep -q 127.0.0.1 /etc/rsyslog.d/90-remote.conf
within 20 status_is 0 "all well"
is_settled

# Nobody listens yet: what is logged waits.
on logger "first words"
on systemd-run --quiet --unit loghost systemd-socket-activate --listen 514 --accept --inetd sh -c 'cat >>/run/loghost'
on systemctl restart rsyslog.service # which tries again sooner
within 20 on grep -q "first words" /run/loghost
on logger "more words"
within 10 on grep -q "more words" /run/loghost
