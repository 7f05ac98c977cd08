# shellcheck shell=bash
# Name:     a file of the node and the unit that reads it
# Node:     one whose configuration has a file for journald, with a check, and a block in /etc/hosts
# Happens:  it boots; an apply; a text that the check refuses; the items are taken out
# Must be:  journald runs with the file; the second time nothing changes; the old file stays; all is as before

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
files: {splay: 0s}
YAML
items() { # TEXT
	write /etc/ecsnode/conf.d/50-files.yaml <<YAML
files:
  items:
    /etc/systemd/journald.conf.d: {directory: true}
    /etc/systemd/journald.conf.d/50-size.conf:
      content: "$1"
      check: [/bin/grep, -q, '^RuntimeMaxUse=', '{}']
      restart: [systemd-journald.service]
    /etc/hosts: {content: '10.0.0.9 logs.{{ node "region" }}', block: logs}
YAML
}
boot
within 20 joined web
hosts=$(on cat /etc/hosts)
started() { on systemctl show systemd-journald.service --property ActiveEnterTimestampMonotonic --value; }
was=$(started)
items '[Journal]\nRuntimeMaxUse=8M\n'
within 40 on grep -q RuntimeMaxUse=8M /etc/systemd/journald.conf.d/50-size.conf
within 10 on grep -q 'logs.eu-west-1' /etc/hosts
restarted() { (($(started) > was)); }
within 10 restarted

was=$(started)
# shellcheck disable=SC2317 # called by not
changes() { on ecsnode apply | grep -E '^files .*changed'; }
not changes
not restarted

items '[Journal]\nRuntimeMaxUSE=8M\n'
within 40 status_is 1 "50-size.conf: its check says no"
on grep -q RuntimeMaxUse=8M /etc/systemd/journald.conf.d/50-size.conf

on rm /etc/ecsnode/conf.d/50-files.yaml
gone() { not on test -e /etc/systemd/journald.conf.d/50-size.conf; }
within 40 gone
within 10 restarted
[[ $(on cat /etc/hosts) == "$hosts" ]]
within 10 status_is 0 "all well"
