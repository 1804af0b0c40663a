#!/usr/bin/env bash
# Makes the image of Debian 12 for virtual servers: cloud-init, OpenSSH, the QEMU guest agent; boots by BIOS and by UEFI.
#
#   build.sh OUT_DIR      writes disk.qcow2 and image.json into OUT_DIR, prints OUT_DIR
#   build.sh --packages   prints the Debian packages that a build needs
#
# CACHE_DIR, DEBIAN_MIRROR, OFFLINE, TMPDIR and SOURCE_DATE_EPOCH: see ../README.md. Root is not needed.
set -euo pipefail

# shellcheck disable=SC2034  # lib.sh names the recipe in what it says
RECIPE=debian-12
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=images/lib.sh
. "$HERE/../lib.sh"

HOST_PACKAGES="mmdebstrap debian-archive-keyring e2fsprogs fdisk mtools grub-common grub-pc-bin grub-efi-amd64-bin qemu-utils fakeroot fakechroot uidmap"
GUEST_PACKAGES=(
    linux-image-cloud-amd64 systemd-sysv udev dbus zstd                                     # boots
    cloud-init cloud-guest-utils fdisk e2fsprogs netplan.io qemu-guest-agent                # is set up by the host
    systemd-resolved systemd-timesyncd iproute2 iputils-ping ca-certificates curl           # has a network
    openssh-server openssh-sftp-server sudo procps lsb-release less nano bash-completion                # is logged in to
)

# Sectors. The root partition is the last one on the disk, so that it can grow; the numbers are those of Debian's own
# cloud images: 14 for BIOS boot, 15 for the EFI system partition, 1 for the root.
DISK_MIB=2048
BIOS_START=2048 BIOS_SIZE=6144 ESP_START=8192 ESP_SIZE=32768 ROOT_START=40960
GPT_BACKUP=2048                       # left free behind the root for the second partition table
GRUB_MODULES=(part_gpt part_msdos ext2 search search_label linux normal configfile serial terminal echo test minicmd)

make_tree() {
    local hooks packages
    mapfile -t hooks < <(fetched_hooks customize)
    packages=$(IFS=,; echo "${GUEST_PACKAGES[*]}")
    # The overlay goes in by mmdebstrap's sync-in, and the script runs inside: neither needs this directory to be
    # readable by the user that mmdebstrap's namespace makes root.
    # shellcheck disable=SC2016  # $1 is the hook's own
    bootstrap "$WORK/tree.tar" "$packages" --mode=auto --variant=minbase --format=tar \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*/LC_MESSAGES/*' \
        --skip=cleanup/reproducible,essential/unlink \
        --essential-hook='mkdir -p "$1/tmp/overlay"' --essential-hook="sync-in '$HERE/rootfs' /tmp/overlay" \
        --essential-hook='cp -R "$1/tmp/overlay/etc/initramfs-tools" "$1/etc/"' \
        "${hooks[@]}" \
        --customize-hook="copy-in '$HERE/customize.sh' /tmp" \
        --customize-hook='chroot "$1" sh /tmp/customize.sh'
}

make_partitions() {
    truncate -s "${DISK_MIB}M" "$DISK"
    ROOT_SIZE=$((DISK_MIB * 2048 - ROOT_START - GPT_BACKUP))
    sfdisk --quiet "$DISK" <<TABLE
label: gpt
unit: sectors
14 : start=$BIOS_START, size=$BIOS_SIZE, type=21686148-6449-6E6F-744E-656564454649, name=bios
15 : start=$ESP_START, size=$ESP_SIZE, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=efi
1 : start=$ROOT_START, size=$ROOT_SIZE, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
TABLE
}

# One fakeroot session unpacks and packs, so that the owners of the files live that long. The device nodes are left
# out: the kernel makes them.
make_root() {
    # shellcheck disable=SC2016  # the inner shell expands these
    as_root bash -euc '
        tree=$1 tar=$2; shift 2
        mkdir "$tree"
        tar --extract --preserve-permissions --numeric-owner --exclude="./dev/*" --file "$tar" --directory "$tree"
        rm "$tar"
        "$@" -d "$tree"' - "$WORK/tree" "$WORK/tree.tar" \
        env MKE2FS_CONFIG="$HERE/../mke2fs.conf" mke2fs -q -F -t ext4 -L cloudimg-root -m 1 \
        -E "offset=$((ROOT_START * 512)),lazy_itable_init=0" "$DISK" "$((ROOT_SIZE / 2))k"
}

# put_u64 FILE OFFSET NUMBER: writes eight bytes, the lowest first.
put_u64() {
    local bytes='' shift
    for shift in 0 8 16 24 32 40 48 56; do bytes+=$(printf '\\x%02x' $((($3 >> shift) & 255))); done
    printf '%b' "$bytes" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# What grub-install does, without a device: boot.img goes into the MBR and the core image into its partition. Each has
# to know the sector where the next piece begins.
install_bios_grub() {
    local grub=/usr/lib/grub/i386-pc
    grub-mkimage -O i386-pc -o "$WORK/core.img" -c "$HERE/grub-early.cfg" -p /boot/grub biosdisk "${GRUB_MODULES[@]}"
    [ "$(stat -c %s "$WORK/core.img")" -le $((BIOS_SIZE * 512)) ] || die "GRUB's core image does not fit in its partition"
    cp "$grub/boot.img" "$WORK/boot.img"
    put_u64 "$WORK/boot.img" $((0x5c)) $BIOS_START
    put_u64 "$WORK/core.img" $((0x1f4)) $((BIOS_START + 1))
    dd if="$WORK/boot.img" of="$DISK" bs=440 count=1 conv=notrunc status=none
    dd if="$WORK/core.img" of="$DISK" bs=512 seek=$BIOS_START conv=notrunc status=none
}

# One self-contained GRUB at the path that a firmware without any stored entry looks for.
install_uefi_grub() {
    local esp="$DISK@@$((ESP_START * 512))"
    grub-mkimage -O x86_64-efi -o "$WORK/bootx64.efi" -c "$HERE/grub-early.cfg" -p /boot/grub fat efi_gop "${GRUB_MODULES[@]}"
    mformat -i "$esp" -T $ESP_SIZE -h 255 -s 63 -H $ESP_START -v UEFI ::
    mmd -i "$esp" ::/EFI ::/EFI/BOOT
    mcopy -i "$esp" "$WORK/bootx64.efi" ::/EFI/BOOT/BOOTX64.EFI
}

write_description() {
    cat > "$WORK/image.json" <<JSON
{
  "slug": "debian-12-x64",
  "name": "Debian 12 x64",
  "distribution": "Debian",
  "boot": "disk",
  "virtual_bytes": $((DISK_MIB * 1024 * 1024)),
  "default_user": "root"
}
JSON
}

case ${1:-} in
    --packages) echo "$HOST_PACKAGES"; exit ;;
    '' | -*) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
require mmdebstrap:mmdebstrap "$KEYRING:debian-archive-keyring" mke2fs:e2fsprogs sfdisk:fdisk mformat:mtools grub-mkimage:grub-common \
    /usr/lib/grub/i386-pc/boot.img:grub-pc-bin /usr/lib/grub/x86_64-efi/linux.mod:grub-efi-amd64-bin qemu-img:qemu-utils
[ "$(id -u)" -eq 0 ] || require fakeroot:fakeroot fakechroot:fakechroot newuidmap:uidmap
mkdir -p "$1"
OUT=$(cd "$1" && pwd)
make_workdir
DISK=$WORK/disk.raw

stage "installing Debian $SUITE into a tree, with ${#GUEST_PACKAGES[@]} packages and what they need (cache: $CACHE_DIR)"
make_tree
stage "writing the disk: GPT, ext4 of $DISK_MIB MiB"
make_partitions
make_root
stage "installing GRUB for BIOS and for UEFI"
install_bios_grub
install_uefi_grub
stage "compressing the disk"
compress "$DISK" "$WORK/disk.qcow2"
write_description
stage "moving the image to $OUT"
publish "$OUT" "$WORK/disk.qcow2" "$WORK/image.json"
stage "done: $(du -h "$OUT/disk.qcow2" | cut -f1) on disk"
echo "$OUT"
