# shellcheck shell=bash
# Name:     an older version than the one that is installed
# Node:     one that has tool 3.0; the repository has 2.0 too
# Happens:  tool is to be 2.0-1, then 3.0-1
# Must be:  it stays at 3.0, which is said at once and lasts; then all is well

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
packages: {ensure: {tool: 2.0-1, library: present}}
YAML
user_data <<'SH'
for p in 'tool 2.0' 'tool 3.0' 'library 1.0'; do
	/usr/libexec/testnode/publish-rpm $p
done
dnf -y --quiet install tool
SH
boot
within 40 is_registered_in web
within 20 status_is 1 "1 FAILING" "tool 3.0-1 is installed, which is newer than 2.0-1: packages are never downgraded"
on rpm --quiet -q library
[[ $(on rpm -q tool) == tool-3.0-1.noarch ]]
on ecsnode apply || true
[[ $(on rpm -q tool) == tool-3.0-1.noarch ]]

echo 'packages: {ensure: {tool: 3.0-1}}' | write /etc/ecsnode/conf.d/50-packages.yaml
within 30 joined web
