#!/usr/bin/env bash
# Makes the image of "Tiny Linux": Debian's cloud kernel, busybox, dropbear and the QEMU guest agent, about 20 MB.
#
#   build.sh OUT_DIR      writes disk.qcow2, vmlinuz, initrd.img and image.json into OUT_DIR, prints OUT_DIR
#   build.sh --packages   prints the Debian packages that a build needs
#
# CACHE_DIR, DEBIAN_MIRROR, OFFLINE, TMPDIR and SOURCE_DATE_EPOCH: see ../README.md. Root is not needed.
set -euo pipefail

# shellcheck disable=SC2034  # lib.sh names the recipe in what it says
RECIPE=tiny
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=images/lib.sh
. "$HERE/../lib.sh"

HOST_PACKAGES="mmdebstrap debian-archive-keyring e2fsprogs fdisk cpio grub-common grub-pc-bin qemu-utils fakeroot"
GUEST_PACKAGES=linux-image-cloud-amd64,busybox-static,dropbear-bin,qemu-guest-agent,jq,fdisk,util-linux,e2fsprogs,openssh-sftp-server
DISK_MIB=64
ROOT_START=2048                       # sectors; the gap before it holds GRUB's core image
CMDLINE="root=/dev/vda1 quiet nokaslr console=tty0 console=ttyS0,115200 no_timer_check random.trust_cpu=on tsc=reliable mitigations=off net.ifnames=0"

# Loaded by the initrd, in this order, to reach the root disk.
BOOT_MODULES=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk)
# Loaded later, by the scripts in rootfs/etc; their dependencies come along.
GUEST_MODULES=(virtio_net virtio_console virtio_balloon virtio-rng isofs vfat nls_ascii nls_cp437 nls_utf8 button evdev)
# Debian programs that busybox has no full answer for: FROM in the packages, TO in the guest.
PROGRAMS=(
    usr/sbin/dropbear:usr/sbin/dropbear
    usr/bin/dropbearkey:usr/bin/dropbearkey
    usr/lib/openssh/sftp-server:usr/lib/sftp-server
    usr/sbin/qemu-ga:usr/sbin/qemu-ga
    usr/bin/jq:usr/bin/jq
    sbin/sfdisk:usr/sbin/sfdisk
    usr/bin/partx:usr/bin/partx
    sbin/resize2fs:usr/sbin/resize2fs
)

fetch_packages() {
    local hooks
    mapfile -t hooks < <(fetched_hooks extract)
    # The packages are only unpacked, their scripts never run: so this mode is safe, and needs no privilege.
    bootstrap "$DEBS" "$GUEST_PACKAGES" --mode=chrootless --variant=extract --format=directory "${hooks[@]}"
    KERNEL=$(basename "$(echo "$DEBS"/lib/modules/*)")
}

# Copies the shared libraries that the programs need, resolved by the guest's own loader and not by the host's.
copy_libraries() {
    local libs=$DEBS/lib/x86_64-linux-gnu pair library
    for pair in "${PROGRAMS[@]}"; do
        "$libs/ld-linux-x86-64.so.2" --library-path "$libs:$DEBS/usr/lib/x86_64-linux-gnu" --list "$ROOT/${pair#*:}" |
            awk '$2 == "=>" { print $3 }'
    done | sort -u | while read -r library; do
        [[ $library == "$DEBS"/* ]] || die "a program needs $library, which is in no listed package" "add its package to GUEST_PACKAGES"
        cp -L "$library" "$ROOT/usr/lib/x86_64-linux-gnu/"
    done
    cp -L "$libs/ld-linux-x86-64.so.2" "$ROOT/usr/lib64/"
}

# All modules lie in one directory, so that the boot scripts can name them without searching; depmod makes them
# known to modprobe too.
copy_modules() {
    local modules=$ROOT/usr/lib/modules/$KERNEL module
    mkdir -p "$modules"
    "$BUSYBOX" depmod -b "$DEBS" "$KERNEL"
    for module in "${BOOT_MODULES[@]}" "${GUEST_MODULES[@]}"; do
        awk -v name="/$module.ko:" 'index($1, name) { sub(":", ""); for (i = 1; i <= NF; i++) print $i }' \
            "$DEBS/lib/modules/$KERNEL/modules.dep"
    done | sort -u | while read -r module; do
        cp "$DEBS/lib/modules/$KERNEL/${module#"/lib/modules/$KERNEL/"}" "$modules/"
    done
    for module in "${BOOT_MODULES[@]}" "${GUEST_MODULES[@]}"; do
        [ -e "$modules/$module.ko" ] || die "the kernel $KERNEL has no module $module"
    done
    cp "$DEBS/lib/modules/$KERNEL"/modules.{builtin,order} "$modules/"
    "$BUSYBOX" depmod -b "$ROOT" "$KERNEL"
}

make_root() {
    local pair applet
    mkdir -p "$ROOT"/{boot,dev,etc/dropbear,mnt,proc,root/.ssh,run,sys,tmp,var/lib/cloud,var/log,var/spool/cron/crontabs} \
        "$ROOT"/usr/{bin,sbin,lib64,lib/x86_64-linux-gnu}
    ln -s usr/bin usr/sbin usr/lib usr/lib64 "$ROOT/"
    ln -s ../run "$ROOT/var/run"
    ln -s ../proc/self/mounts "$ROOT/etc/mtab"
    cp "$BUSYBOX" "$ROOT/usr/bin/busybox"
    for pair in "${PROGRAMS[@]}"; do install -D -m 0755 "$DEBS/${pair%:*}" "$ROOT/${pair#*:}"; done
    cp -r "$HERE/rootfs/." "$ROOT/"
    # A program or a script of ours comes before busybox's applet of the same name.
    for applet in $("$BUSYBOX" --list); do
        [ -e "$ROOT/usr/bin/$applet" ] || [ -e "$ROOT/usr/sbin/$applet" ] || ln -s busybox "$ROOT/usr/bin/$applet"
    done
    for applet in init getty; do ln -s ../bin/busybox "$ROOT/usr/sbin/$applet"; done
    copy_libraries
    copy_modules
    cp "$DEBS/boot/vmlinuz-$KERNEL" "$ROOT/boot/vmlinuz"
    find "$ROOT" -type d -exec chmod 0755 {} +
    chmod 0755 "$ROOT"/etc/rc.* "$ROOT/etc/udhcpc.sh" "$ROOT/etc/acpi/PWRF/"* "$ROOT"/usr/bin/{cloud-init,growpart} "$ROOT"/usr/sbin/{chpasswd,shutdown}
    chmod 0600 "$ROOT/etc/shadow"
    chmod 0700 "$ROOT/root" "$ROOT/root/.ssh" "$ROOT/etc/dropbear"
    chmod 1777 "$ROOT/tmp"
}

make_initrd() {
    local tree=$WORK/initrd module
    mkdir -p "$tree"/{bin,dev,lib,proc,root,sys}
    cp "$BUSYBOX" "$tree/bin/busybox"
    install -m 0755 "$HERE/initrd/init" "$tree/init"
    for module in "${BOOT_MODULES[@]}"; do cp "$ROOT/usr/lib/modules/$KERNEL/$module.ko" "$tree/lib/"; done
    printf '%s\n' "${BOOT_MODULES[@]}" > "$tree/lib/order"
    clamp_times "$tree"
    (cd "$tree" && find . | LC_ALL=C sort | cpio --quiet --reproducible --format=newc --owner=0:0 --create) |
        gzip --best --no-name > "$ROOT/boot/initrd.img"
}

# One primary partition behind a classical MBR: GRUB's core image fits in the gap after the MBR, at the place that
# boot.img expects, so that two copies install it.
make_disk() {
    local disk=$WORK/disk.raw
    truncate -s "${DISK_MIB}M" "$disk"
    echo "$ROOT_START,,L,*" | sfdisk --quiet --label dos "$disk"
    clamp_times "$ROOT"
    # Blocks of 4 KiB and reserved descriptors let the file system grow online to 1 TiB, and few inodes make that
    # quick: each new block group has its inode table written.
    as_root env MKE2FS_CONFIG="$HERE/../mke2fs.conf" mke2fs -q -F -t ext4 -L tinyroot -i 32768 -m 0 -J size=4 \
        -E "offset=$((ROOT_START * 512)),root_owner=0:0,resize=268435456,lazy_itable_init=0" \
        -d "$ROOT" "$disk" "$((DISK_MIB * 1024 - ROOT_START / 2))k"
    sed "s|@CMDLINE@|$CMDLINE|" "$HERE/grub.cfg" > "$WORK/grub.cfg"
    grub-mkimage -O i386-pc -o "$WORK/core.img" -c "$WORK/grub.cfg" -p '(hd0,msdos1)/boot/grub' \
        biosdisk part_msdos ext2 linux normal serial terminal
    [ "$(stat -c %s "$WORK/core.img")" -le $(((ROOT_START - 1) * 512)) ] || die "GRUB's core image does not fit before the partition"
    dd if=/usr/lib/grub/i386-pc/boot.img of="$disk" bs=440 count=1 conv=notrunc status=none
    dd if="$WORK/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
    compress "$disk" "$WORK/disk.qcow2"
}

write_description() {
    cat > "$WORK/image.json" <<JSON
{
  "slug": "tiny",
  "name": "Tiny Linux 1",
  "distribution": "Tiny Linux",
  "boot": "direct",
  "kernel": "vmlinuz",
  "initrd": "initrd.img",
  "cmdline": "$CMDLINE",
  "virtual_bytes": $((DISK_MIB * 1024 * 1024)),
  "default_user": "root"
}
JSON
}

case ${1:-} in
    --packages) echo "$HOST_PACKAGES"; exit ;;
    '' | -*) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
require mmdebstrap:mmdebstrap "$KEYRING:debian-archive-keyring" mke2fs:e2fsprogs sfdisk:fdisk cpio:cpio \
    grub-mkimage:grub-common /usr/lib/grub/i386-pc/boot.img:grub-pc-bin qemu-img:qemu-utils
[ "$(id -u)" -eq 0 ] || require fakeroot:fakeroot
mkdir -p "$1"
OUT=$(cd "$1" && pwd)
make_workdir
DEBS=$WORK/debs ROOT=$WORK/root BUSYBOX=$WORK/debs/bin/busybox

stage "fetching Debian $SUITE packages (cache: $CACHE_DIR)"
fetch_packages
stage "laying out the root tree with kernel $KERNEL"
make_root
stage "packing the initrd"
make_initrd
stage "writing the disk: ext4 of $DISK_MIB MiB, GRUB for BIOS, qcow2"
make_disk
write_description
stage "moving the image to $OUT"
publish "$OUT" "$WORK/disk.qcow2" "$ROOT/boot/vmlinuz" "$ROOT/boot/initrd.img" "$WORK/image.json"
stage "done: $(du -h "$OUT/disk.qcow2" | cut -f1) on disk"
echo "$OUT"
