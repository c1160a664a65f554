#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The guest's init: makes a machine with cgroup v2 only and all controllers, runs the checks, says for each
# "ok NAME" or "not ok NAME: what", and ends the machine. The rootfs is moved to a tmpfs first: pivot_root(2) refuses
# the initramfs.
if [ "$1" != checks ]; then
        mount -t proc proc /proc
        mkdir -p /new
        mount -t tmpfs -o size=300m tmpfs /new
        cp -a /bin /belay /guest.sh /bundles /new/
        mkdir -p /new/proc /new/sys /new/dev /new/run /new/tmp /new/etc
        exec switch_root /new /bin/sh /guest.sh checks
fi
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export PATH=/bin

# check NAME EXPECTED COMMAND...: the command's output, with blanks squeezed, must be EXPECTED.
check() {
        name=$1
        want=$2
        shift 2
        got=$("$@" 2>&1 | tr -s ' \n' ' ' | sed 's/^ //; s/ $//')
        if [ "$got" = "$want" ]; then
                echo "ok $name"
        else
                echo "not ok $name: got '$got', not '$want'"
        fi
}

belay() {
        /belay/belay --root /run/belay "$@"
}

status_of() {
        "$@" >/dev/null 2>&1
        echo $?
}

in_cgroup() {
        (cd "/sys/fs/cgroup/vm/$1" && shift && cat "$@")
}

oom_level() {
        belay --json state "$1" | sed -n 's/.*"oom_level": *"\([a-z]*\)".*/\1/p'
}

reason() {
        belay --json state "$1" | sed -n 's/.*"reason": *"\(.*\)".*/\1/p'
}

echo
check status 7 status_of belay run --rm --bundle /bundles/status status

belay run -d --bundle /bundles/limits limits >/dev/null
check memory_limit "67108864 0" in_cgroup limits memory.max memory.swap.max
check memory_reservation 33554432 in_cgroup limits memory.low
check pids_limit 16 in_cgroup limits pids.max
check cpu_quota "50000 100000" in_cgroup limits cpu.max
check cpu_weight_of_1024_shares_is_the_default 100 in_cgroup limits cpu.weight
check cpuset 0 in_cgroup limits cpuset.cpus
check cpu_burst 10000 in_cgroup limits cpu.max.burst
check huge_pages "4194304 4194304" in_cgroup limits hugetlb.2MB.max hugetlb.2MB.rsvd.max
check every_controller_is_there same sh -c '[ "$(cat /sys/fs/cgroup/cgroup.controllers)" = "$(cat /sys/fs/cgroup/vm/limits/cgroup.controllers)" ] && echo same'
check unified 1048576 in_cgroup limits memory.high
check its_own_view_of_the_cgroup 0::/ belay exec limits cat /proc/self/cgroup
check an_exec_is_in_the_cgroup 2 sh -c '/belay/belay --root /run/belay exec -d limits sleep 1000 >/dev/null; wc -l </sys/fs/cgroup/vm/limits/cgroup.procs'
check a_device_that_is_not_listed_cannot_be_opened "sh: can't open /tmp/mem: Operation not permitted" belay exec limits sh -c 'mknod /tmp/mem c 1 1 && : </tmp/mem'
check a_listed_device_can_be_opened "" belay exec limits sh -c ': </dev/zero && : >/dev/null'
belay pause limits
check paused "paused 1" sh -c '/belay/belay --root /run/belay --json state limits | sed -n "s/.*\"status\": *\"\([a-z]*\)\".*/\1/p"; cat /sys/fs/cgroup/vm/limits/cgroup.freeze'
check no_exec_into_a_paused_container 125 status_of belay exec limits true
(belay exec --ignore-paused limits sh -c 'echo resumed' >/tmp/waits) &
check an_exec_may_wait_in_a_paused_container 3 sh -c 'while [ "$(wc -l </sys/fs/cgroup/vm/limits/cgroup.procs)" -lt 3 ]; do sleep 0.05; done; wc -l </sys/fs/cgroup/vm/limits/cgroup.procs'
belay resume limits
wait $!
check which_goes_on_when_it_is_resumed "resumed 0" cat /tmp/waits /sys/fs/cgroup/vm/limits/cgroup.freeze
belay update --pids-limit 17 --memory 65m --memory-swap 65m limits
check update "17 68157440 0" in_cgroup limits pids.max memory.max memory.swap.max
check update_leaves_the_rest "50000 100000" in_cgroup limits cpu.max
mkdir /sys/fs/cgroup/vm/limits/below
check an_exec_in_a_cgroup_below 0::/below belay exec --cgroup below limits cat /proc/self/cgroup
check a_cgroup_below_that_is_not_there "125" status_of belay exec --cgroup nowhere limits true
rmdir /sys/fs/cgroup/vm/limits/below
check stats_tells_the_limits "68157440 17" sh -c '/belay/belay --root /run/belay stats --json --no-stream --interval 10ms limits | sed "s/.*\"memory_limit\":\([0-9]*\),.*\"pids_limit\":\([0-9]*\),.*/\1 \2/"'
check stats_in_a_table "ID limits" sh -c '/belay/belay --root /run/belay stats --no-stream --interval 10ms | cut -d " " -f 1'
check events_have_statistics "stats limits" sh -c '/belay/belay --root /run/belay events --stats limits | sed "s/.*\"type\":\"\([a-z]*\)\",\"id\":\"\([a-z]*\)\",.*/\1 \2/"'
check pressure_is_shown_where_the_kernel_has_it "$([ -e /sys/fs/cgroup/vm/limits/cpu.pressure ] && echo psi)" sh -c '/belay/belay --root /run/belay events --stats limits | sed -n "s/.*\"\(psi\)\":{\"some\".*/\1/p"'
check the_pids_limit_holds "sh: can't fork: Resource temporarily unavailable" belay exec limits sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do sleep 100 & done'
belay kill --all limits KILL
check killed_as_a_whole 137 status_of belay wait limits
check told_as_a_signal signal reason limits
belay delete limits
check its_cgroup_is_gone "no" sh -c '[ -e /sys/fs/cgroup/vm/limits ] && echo yes || echo no'

check killed_for_memory 137 status_of belay run --keep --bundle /bundles/oom oom
check told_as_such oom_killed reason oom
check whose_limit own oom_level oom
belay delete oom
belay create --bundle /bundles/oom oom2 </dev/null >/dev/null 2>&1
belay events --interval 100ms oom2 >/tmp/events &
while ! [ -s /tmp/events ]; do sleep 0.05; done
belay start oom2
wait $!
check events_tell_of_oom_kills oom sed -n 's/.*"type":"\(oom\)".*/\1/p' /tmp/events
belay delete oom2

check a_user_namespace_on_v2 "0 100000 65536" belay run --rm --bundle /bundles/userns userns
check cpu_idle 1 belay run --rm --bundle /bundles/idle idle
check a_user_namespace_owns_its_cgroup_but_not_its_limits "0::/a sh: can't create /sys/fs/cgroup/memory.max: Permission denied" belay run --rm --bundle /bundles/owner owner
check a_cgroup_mount_is_its_own "cgroup.procs" belay run --rm --bundle /bundles/mount mount

# Debian's cloud kernel has none: then start must fail, and say so.
mkdir -p /tmp/sched
echo '{}' >/tmp/sched/config.json
check core_scheduling_is_asked_for "containerd-shim-belay-v2: create a core scheduling cookie: Invalid argument" sh -c 'cd /tmp/sched && SCHED_CORE=1 /belay/containerd-shim-belay-v2 -namespace vm -address /a -id sched start </dev/null'

check no_container_left "" sh -c '/belay/belay --root /run/belay list | tail -n +2'
check no_cgroup_left "no" sh -c '[ -e /sys/fs/cgroup/vm ] && echo yes || echo no'
echo done
poweroff -f
