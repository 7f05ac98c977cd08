# shellcheck shell=bash
# Name:     a unit of the team's own
# Node:     one whose configuration has a unit file, and has the unit enabled and up
# Happens:  it boots; the file changes; the unit is stopped by hand; a unit is masked
# Must be:  it runs with its file; it is restarted with the new one; it is started again

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
files: {splay: 0s}
services: {units: {hello.service: {enabled: true, state: started}}}
YAML
unit_sleeps() {
	write /etc/ecsnode/conf.d/50-hello.yaml <<YAML
files:
  items:
    /etc/systemd/system/hello.service:
      content: "[Service]\nExecStart=/bin/sleep $1\n[Install]\nWantedBy=multi-user.target\n"
      restart: [hello.service]
YAML
}
boot
within 20 is_registered_in web
within 10 status_is 1 "there is no unit hello.service"
unit_sleeps 1111
runs() { on systemctl show hello.service --property ExecStart --value | grep -q "sleep $1" && on systemctl --quiet is-active hello.service && on pgrep -f "sleep $1" >/dev/null; }
within 60 runs 1111
on systemctl --quiet is-enabled hello.service
within 10 status_is 0 "all well"

unit_sleeps 2222
within 40 runs 2222
on systemctl stop hello.service
on ecsnode apply
runs 2222
