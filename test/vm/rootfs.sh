#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# usage: rootfs.sh DIR
#
# Makes DIR/root.ext4, the disk of the virtual machine: a small Debian 12 with systemd, D-Bus, AppArmor, pytest,
# containerd and runc, and the modules of the kernel in DIR. Kept until this file or the kernel changes.
#
# debootstrap runs in mount and pid namespaces of its own: whatever ends it, no mount and no process is left. Needs
# the network for Debian's archive alone ($BELAY_MIRROR names another mirror). Exit status 75: the archive could not
# be reached or gave no system.
set -euo pipefail

dir=$(cd "$1" && pwd)
mirror=${BELAY_MIRROR:-http://deb.debian.org/debian}
packages=systemd,systemd-sysv,dbus,apparmor,kmod,procps,iproute2,util-linux,mount,libcap2-bin,busybox-static
packages+=,python3,python3-pytest,python3-protobuf,protobuf-compiler,libprotobuf-dev,containerd,runc,crun,gcc,libc6-dev,secilc
size=2G
seconds=900

# One at a time; what a killed one has left goes now.
exec 9>"$dir/lock"
flock 9
rm -rf "$dir"/work.*

kernel=$(basename "$(ls "$dir"/boot/vmlinuz-* | head -n 1)")
recipe=$(cat "$0" <(echo "$kernel $mirror") | sha256sum)
[ "$(cat "$dir/root.recipe" 2>/dev/null)" != "$recipe" ] || [ ! -f "$dir/root.ext4" ] || exit 0

work=$(mktemp -d "$dir/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
rm -f "$dir/root.recipe"
if ! timeout "$seconds" unshare --mount --pid --fork --kill-child debootstrap --variant=minbase \
        --include="$packages" bookworm "$work/root" "$mirror" >"$dir/debootstrap.log" 2>&1 9>&-; then
        tail -n 5 "$dir/debootstrap.log" >&2
        echo "debootstrap made no root file system from $mirror within $seconds s: $dir/debootstrap.log" >&2
        exit 75
fi
root=$work/root
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale,info}/*
rm -rf "$root"/dev/* "$root"/proc/* "$root"/sys/* "$root"/run/*
rm -f "$root"/usr/lib/x86_64-linux-gnu/libproto*.a
cp -a "$dir"/lib/modules "$root"/lib/
chroot "$root" depmod "${kernel#vmlinuz-}"
echo belay-vm >"$root/etc/hostname"
printf '127.0.0.1 localhost belay-vm\n' >"$root/etc/hosts"
: >"$root/etc/fstab"
: >"$root/etc/machine-id"
# What a machine of one hour does not need, and what would cost its first seconds.
for unit in containerd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
        fstrim.timer getty@tty1.service systemd-timesyncd.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
mke2fs -q -F -t ext4 -d "$root" -L belay-vm -O ^has_journal -m 0 "$work/root.ext4" "$size" >/dev/null
mv "$work/root.ext4" "$dir/root.ext4"
echo "$recipe" >"$dir/root.recipe"
