# shellcheck shell=bash
# Name:     an older version than the one that is installed
# Node:     one that has tool 3.0 and library 2.0; the repository has older ones too
# Happens:  tool is to be 2.0-1, then 3.0-1; a package that needs an older library is to be there
# Must be:  tool stays at 3.0, which is said at once and lasts; library stays in its version, and what needs it otherwise is named

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
packages: {ensure: {tool: 2.0-1, program: present, library: 2.0-1}}
YAML
user_data <<'SH'
for p in 'tool 2.0' 'tool 3.0' 'library 1.0' 'library 2.0' 'program 1.0' 'older 1.0'; do
	/usr/libexec/testnode/publish-rpm $p
done
dnf -y --quiet install tool library
SH
boot
within 40 is_registered_in web
within 20 status_is 1 "1 FAILING" "tool 3.0-1 is installed, which is newer than 2.0-1: packages are never downgraded"
on rpm --quiet -q program
[[ $(on rpm -q tool) == tool-3.0-1.noarch ]]
on ecsnode apply || true
[[ $(on rpm -q tool) == tool-3.0-1.noarch ]]

echo 'packages: {ensure: {tool: 3.0-1}}' | write /etc/ecsnode/conf.d/50-packages.yaml
within 30 joined web
echo 'packages: {ensure: {older: present}}' | write /etc/ecsnode/conf.d/60-packages.yaml
within 30 status_is 1 "cannot install older: dnf: Problem" "requires library < 2.0"
[[ $(on rpm -q library) == library-2.0-1.noarch ]]
not on rpm --quiet -q older
