#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# demo.sh BIN_DIR: the main job, step by step, for a person to watch: a container through the shim, with no
# containerd and no runc. Everything is below one temporary folder and gone at the end.
set -euo pipefail

bin=$1
root=$(mktemp -d /tmp/belay-demo.XXXXXX)
belay=("$bin/belay" --root "$root/run")
n=0

finish() {
        local id
        for id in web short; do
                "${belay[@]}" delete --force "$id" >/dev/null 2>&1 || true
        done
        rm -rf "$root"
}
trap finish EXIT

step() {
        n=$((n + 1))
        printf '\n\033[1m%d. %s\033[0m\n' "$n" "$1"
}

# Shows a command as one would type it, then runs it.
run() {
        local word shown=
        for word in "$@"; do
                [[ $word =~ ^[A-Za-z0-9_./:-]+$ ]] || word=${word@Q}
                shown+=" ${word/$root/…}"
        done
        printf '   \033[36m$ belay%s\033[0m\n' "$shown"
        "${belay[@]}" "$@" 2>&1 | sed 's/^/   /'
        return "${PIPESTATUS[0]}"
}

printf '\033[1mbelay: one container, one shim, no daemon\033[0m\n'

mkdir -p "$root/rootfs"/{bin,etc,proc,sys,dev,tmp}
cp /bin/busybox "$root/rootfs/bin/"
for applet in sh sleep ps hostname id ls; do
        ln -s busybox "$root/rootfs/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/rootfs/etc/passwd"

step 'A container that runs to its end. Its exit status is the command'"'"'s own.'
status=0
run run --rm --rootfs "$root/rootfs" short -- sh -c 'echo "hello from pid $$ on $(hostname), as $(id -un)"; exit 7' || status=$?
printf '   exit status: %d\n' "$status"
[ "$status" = 7 ]

step 'One that stays, in the background. The shim keeps its log.'
run run -d --rootfs "$root/rootfs" --log "log://$root/web.log" web -- sh -c 'echo serving; exec sleep 1000'

step 'A second process in it: it sees the container and nothing of the host.'
run exec web -- ps
run exec web -- ls /proc/self/fd
printf '   (0 to 2 are its stdio, 3 is the folder that ls reads)\n'

step 'What the shim costs while it waits (kB).'
shim=$("${belay[@]}" --json state web | sed -n 's/.*"shim_pid": *\([0-9]*\).*/\1/p')
grep -E '^(Rss|Pss|Anonymous):' "/proc/$shim/smaps_rollup" | sed 's/^/   /'
printf '   threads:        %d\n' "$(ls "/proc/$shim/task" | wc -l)"

step 'It is killed. The shim, its parent, saw it and wrote it down.'
run kill web KILL
status=0
run wait web || status=$?
printf '   exit status: %d (128 + SIGKILL)\n' "$status"

step 'Asked again, after the end: the same status and the same time.'
run state -f table web

step 'What it had written, and when.'
run logs --timestamps web

step 'Deleted: nothing is left.'
run delete web
run list
printf '\n\033[1mdone\033[0m\n'
