#!/bin/sh
# Runs inside the new tree, as its root: lays the overlay, and takes out what must differ between servers.
set -eu
export DEBIAN_FRONTEND=noninteractive

cp -R --no-preserve=ownership /tmp/overlay/. /
chown -R 0:0 /etc/cloud/cloud.cfg.d /etc/ssh/sshd_config.d /etc/systemd/system /etc/initramfs-tools /boot/grub /etc/fstab

# With ifupdown there, cloud-init writes its files instead of netplan's, and the default route is lost.
dpkg --purge ifupdown 2>/dev/null || true
systemctl enable systemd-networkd systemd-resolved systemd-timesyncd
systemctl disable e2scrub_reap.service e2scrub_all.timer dpkg-db-backup.timer
systemctl mask cloud-init-hotplugd.socket

# The build's mirror, proxy and savings end here: cloud-init writes the sources, later packages come whole.
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/99mmdebstrap /etc/dpkg/dpkg.cfg.d/99mmdebstrap
rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/cache/apt/*.bin

rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /var/lib/dbus/machine-id /etc/hostname
rm -rf /var/lib/cloud/* /var/log/*.log /var/log/apt/* /tmp/overlay
: > /etc/machine-id
echo debian > /etc/hostname
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
rm -f /tmp/customize.sh
