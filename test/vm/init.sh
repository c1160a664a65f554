#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The first process of the machine with Debian's root file system: loads what the disk needs, mounts it, puts the tree
# under test (the second disk is a tar) on a tmpfs at /belay, and hands over to the init that the kernel's command
# line names (belay.init=). Nothing that the machine writes outlives it but the third disk.
fail() {
        echo "belay-vm: cannot boot: $*"
        poweroff -f
}

mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do
        insmod "$module" || fail "module $module"
done
init=$(sed -n 's/.*belay\.init=\([^ ]*\).*/\1/p' /proc/cmdline)
mkdir -p /new
tries=0
until [ -b /dev/vdc ]; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || fail "no disks"
        sleep 0.1
done
mount -t ext4 -o noatime /dev/vda /new || fail "the root file system"
mkdir -p /new/belay
mount -t tmpfs -o mode=755 tmpfs /new/belay || fail "a tmpfs"
tar -x -C /new/belay -f /dev/vdb || fail "the tree under test"
cp /new/belay/test/vm/units/* /new/etc/systemd/system/
umount /dev
umount /proc
exec switch_root /new "$init"
