#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Inside the machine: runs pytest with the arguments in /belay/args (one a line), or the command in /belay/command,
# and writes what /belay/results holds then to the third disk, as a tar. As process 1 it first makes a machine of what the
# kernel gives (cgroup v2 alone, all controllers), and ends it; otherwise systemd has done and does that.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=linux
export BELAY_SLOWNESS=8 PYTHONDONTWRITEBYTECODE=1 BELAY_BIN_DIR=/belay/out/bin

if [ $$ = 1 ]; then
        mount -t proc proc /proc
        mount -t sysfs sysfs /sys
        mount -t devtmpfs devtmpfs /dev
        mkdir -p /dev/pts /dev/shm /dev/mqueue
        ln -s /proc/self/fd /dev/fd
        mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
        mount -t tmpfs tmpfs /dev/shm
        mount -t mqueue mqueue /dev/mqueue
        mount -t tmpfs -o mode=755 tmpfs /run
        mount -t tmpfs -o mode=1777 tmpfs /tmp
        mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
        mount -t securityfs securityfs /sys/kernel/security
        [ ! -d /sys/fs/selinux ] || mount -t selinuxfs selinuxfs /sys/fs/selinux
        ip link set lo up
        hostname belay-vm
fi
modprobe -a overlay veth dummy 2>/dev/null
# v1 has no weights of block devices without it; v2 then has io.bfq.weight in the place of io.weight.
[ ! -d /sys/fs/cgroup/blkio ] || modprobe bfq 2>/dev/null
# A kernel that has it gets an RDMA device.
modprobe rdma_rxe 2>/dev/null && rdma link add rxe0 type rxe netdev lo

cd /belay || exit 1
mkdir -p results
if [ -e command ]; then
        mapfile -t command <command
        "${command[@]}"
else
        mapfile -t args <args
        python3 -m pytest -v --tb=short --color=no -p no:cacheprovider --junit-xml=results/junit.xml "${args[@]}"
fi
echo "belay-vm: status $?"
tar -c -C results -f /dev/vdc .
sync
if [ $$ = 1 ]; then
        busybox poweroff -f
fi
