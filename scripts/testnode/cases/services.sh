# shellcheck shell=bash
# Name:     a unit of the team's own
# Node:     one whose configuration has a unit file, and has the unit enabled and up
# Happens:  it boots; the file changes; the unit is stopped by hand; it gets its first drop-in, and loses it
# Must be:  it runs with its file; it is restarted with the new one; it is started again; it runs with the drop-in, and without

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

# Of a unit that gets its first drop-in systemd does not say that its files were changed.
write /etc/ecsnode/conf.d/60-drop-in.yaml <<'YAML'
files:
  items:
    /etc/systemd/system/hello.service.d: {directory: true}
    /etc/systemd/system/hello.service.d/more.conf: {content: "[Service]\nEnvironment=MORE=yes\n", restart: [hello.service]}
YAML
environment_is() { [[ $(on systemctl show hello.service --property Environment --value) == "$1" ]] && runs 2222; }
has_more() { on sh -c 'grep -qz MORE=yes /proc/$(systemctl show hello.service --property MainPID --value)/environ'; }
within 40 environment_is MORE=yes
within 10 has_more
on rm /etc/ecsnode/conf.d/60-drop-in.yaml
within 40 environment_is ""
within 10 not has_more
within 10 status_is 0 "all well"
