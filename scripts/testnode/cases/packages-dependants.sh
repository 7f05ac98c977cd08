# shellcheck shell=bash
# Name:     a package that is to be absent, and another needs it
# Node:     one that has library and program, which needs it; and tool
# Happens:  library and tool are to be absent; then program too
# Must be:  library and program stay and status says why, tool goes; then all are gone

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
YAML
user_data <<'SH'
for p in library program tool; do
	/usr/libexec/testnode/publish-rpm $p 1.0
done
dnf -y --quiet install program tool
SH
gone() { not on rpm --quiet -q "$1"; }
boot
within 40 joined web
echo 'packages: {ensure: {library: absent, tool: absent}}' | write /etc/ecsnode/conf.d/50-packages.yaml
within 30 status_is 1 "cannot remove library: program needs it (library)"
within 10 gone tool
on rpm --quiet -q library program
# The way for what needs it while we looked: dnf itself takes nobody along.
on sh -c 'sed -i s/tool/library/ /run/ecsnode/packages-remove.json'
not on dnf -y --disablerepo='*' history replay /run/ecsnode/packages-remove.json
on rpm --quiet -q library program

echo 'packages: {ensure: {program: absent}}' | write /etc/ecsnode/conf.d/60-packages.yaml
within 30 joined web
not on rpm --quiet -q library
not on rpm --quiet -q program
