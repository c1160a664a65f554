#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# build.sh DIR: builds what fetch.sh left in DIR: the programs of runtime-tools in DIR/bin/runtime-tools (in GOPATH
# mode, against Debian's own packages of Go sources) and crun's test init in DIR/bin/crun.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
dir=$(cd "$1" && pwd)
bin=$dir/bin

build_runtime_tools() {
        local root=$dir/gopath/src/github.com out=$bin/runtime-tools program
        [ ! -e "$out/.complete" ] || return 0
        rm -rf "$dir/gopath" "$out"
        mkdir -p "$root/opencontainers" "$root/mndrix/tap-go" "$out/validation"
        cp -r "$dir/runtime-tools" "$root/opencontainers/runtime-tools"
        cp "$here/tap/tap.go" "$root/mndrix/tap-go/"
        export GOPATH=$dir/gopath:/usr/share/gocode GO111MODULE=off GOCACHE=$dir/gocache CGO_ENABLED=0 GOFLAGS=-p=2
        cd "$root/opencontainers/runtime-tools"
        go build -o "$out/runtimetest" ./cmd/runtimetest
        for program in validation/*/; do
                program=$(basename "$program")
                [ "$program" != util ] || continue
                go build -o "$out/validation/$program" "./validation/$program"
        done
        # The programs look for these in the directory they run in.
        cp rootfs-*.tar.gz "$out/"
        touch "$out/.complete"
}

build_crun_init() {
        [ ! -e "$bin/crun/init" ] || return 0
        mkdir -p "$bin/crun" "$dir/crun-include"
        printf '#define %s 1\n' HAVE_SECCOMP HAVE_LINUX_IOPRIO_H >"$dir/crun-include/config.h"
        gcc -O2 -static -w -I"$dir/crun-include" -o "$bin/crun/init" "$dir/crun/tests/init.c" -lseccomp
}

build_runtime_tools
build_crun_init
