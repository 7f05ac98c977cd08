# shellcheck shell=bash
# Name:     packages there, absent, newest and in one version
# Node:     a new instance that is to have one of each, and one that is in no repository
# Happens:  it boots; an apply; one is removed by hand, and one installed; what was missing comes
# Must be:  all but the missing one are there at once, which is named; nothing is done twice; what deviates is put right

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
boot: {budget: 20s}
packages: {ensure: {ecs-init: latest, library: present, program: absent, tool: 2.0-1, nosuch: present, greeter: present}}
files:
  items: {/etc/greeter/greeter.conf: {literal: "hello\n", after: ['package:greeter'], restart: [greeter.service]}}
services: {units: {greeter.service: {enabled: true, state: started}}}
YAML
user_data <<'SH'
for p in 'library 1.0' 'program 1.0' 'tool 1.0' 'tool 2.0' 'tool 3.0' 'greeter 1.0' 'ecs-init 1.1'; do
	/usr/libexec/testnode/publish-rpm $p
done
dnf -y --quiet install program tool-1.0-1
rpm -e --nodeps library
SH
has() { local p && for p in "$@"; do on rpm --quiet -q "$p" || fail "there is no $p"; done; }
as_wanted() { has ecs-init-1.1-1 library tool-2.0-1 greeter && not on rpm --quiet -q program; }
transactions() { on dnf history list 2>/dev/null | grep -c '^ *[0-9]'; }
boot
within 40 is_registered_in web
as_wanted
on grep -Fqx 1.1 /var/lib/testnode/ecs/1/version
within 10 status_is 1 "1 FAILING" "cannot install nosuch: dnf: No match for argument: nosuch (in the repositories"
on grep -qx hello /etc/greeter/greeter.conf
on systemctl --quiet is-active greeter.service
on systemctl --quiet is-enabled greeter.service

before_apply=$(transactions)
on ecsnode apply || true
# shellcheck disable=SC2317 # called by not
changes() { on ecsnode apply | grep -E '^packages .*changed'; }
not changes
(($(transactions) == before_apply)) || fail "dnf was run again"

on rpm -e library
on dnf -y --quiet install program >/dev/null
on rpm -e --nodeps library
plan=$(on ecsnode plan || true)
[[ $plan == *"call remove program"*"call install library"* ]] || fail "the plan is: $plan"
on ecsnode apply || true
within 20 as_wanted

publish_rpm tool 4.0
echo 'packages: {ensure: {nosuch: present, library: absent, tool: latest}}' | write /etc/ecsnode/conf.d/50-more.yaml
within 20 on rpm --quiet -q tool-4.0-1
not on rpm --quiet -q library # removals come first
on sh -c 'echo "packages: {ensure: {nosuch: absent, library: present}}" >/etc/ecsnode/conf.d/60-none.yaml'
within 20 has library
within 20 joined web
