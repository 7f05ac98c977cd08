# shellcheck shell=bash
# Name:     power cut in the middle of a transaction
# Node:     a new instance that is to upgrade a package, which takes 8 s
# Happens:  the power is cut while the package's scriptlet runs
# Must be:  the two versions in the database are mended at the next boot, which joins its cluster

new_node <<'YAML'
cluster: '{{ tag "cluster" }}'
packages: {ensure: {slow: latest}}
YAML
user_data <<'SH'
/usr/libexec/testnode/publish-rpm slow 1.0
dnf -y install slow
/usr/libexec/testnode/publish-rpm slow 2.0
SH
boot
within 40 on test -e /run/slow-upgrade
(($(on rpm -q slow | wc -l) == 2)) || fail "the transaction was not under way"
cut_power
boot
within 90 joined web
[[ $(on rpm -q slow) == slow-2.0-1.noarch ]]
