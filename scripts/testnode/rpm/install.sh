#!/usr/bin/env bash
# Makes the machine that this runs in an instance of the ECS AMI, as far as its
# packages go. Run by rootfs.sh, in a chroot.
set -euo pipefail

rpm --initdb
/usr/libexec/testnode/publish-rpm system-release 2023
/usr/libexec/testnode/publish-rpm ecs-init 1.0
dnf -y install system-release ecs-init
ln -s ../libexec/testnode/cloud-init /usr/bin/cloud-init
systemctl enable cloud-init.service cloud-config.service cloud-final.service cloud-init.target ecs.service

# What containers are made of: one static binary under the names of its applets.
image=$(mktemp -d)
mkdir "$image/bin" "$image/etc" "$image/tmp"
cp /bin/busybox "$image/bin"
chroot "$image" /bin/busybox --install -s /bin
echo 'hosts: files' >"$image/etc/nsswitch.conf" # nothing else can be asked in a static binary
mkdir -p /usr/share/testnode
tar -C "$image" -cf /usr/share/testnode/busybox.tar .
rm -rf "$image"
dnf clean all
