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

# The build's mirror, proxy and savings end here: the guest uses the mirrors that its own cloud-init knows for Debian,
# and later packages come whole.
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/99mmdebstrap /etc/dpkg/dpkg.cfg.d/99mmdebstrap
python3 - > /etc/apt/sources.list <<'PYTHON'
import yaml
mirrors = yaml.safe_load(open("/etc/cloud/cloud.cfg"))["system_info"]["package_mirrors"][0]["failsafe"]
for mirror, suite in (("primary", ""), ("primary", "-updates"), ("security", "-security")):
    print("deb", mirrors[mirror], "bookworm" + suite, "main")
PYTHON
rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/cache/apt/*.bin

rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /var/lib/dbus/machine-id /etc/hostname
rm -rf /var/lib/cloud/* /var/log/*.log /var/log/apt/* /tmp/overlay
rm -f /etc/machine-id
: > /etc/machine-id
echo debian > /etc/hostname
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
rm -f /tmp/customize.sh
