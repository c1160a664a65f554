#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fetch.sh DIR: gets the sources of the suites that we did not write from Debian's archive and unpacks them as
# DIR/runtime-tools and DIR/crun. The archive's address is taken from this machine's own apt configuration; nothing
# is installed and the machine's package lists stay as they are.
set -euo pipefail

dir=$1

sources=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
mirror=$(sed -n 's/^URIs: *\([^ ]*debian\)\/* *$/\1/p; s/^deb \(\[[^]]*\] \)\?\([^ ]*debian\)\/* .*/\2/p' \
        <<<"$sources" | head -n 1)
[ -n "$mirror" ] || { echo "fetch: no Debian archive in this machine's apt sources" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# source_tar NAME SUITE PACKAGE: the upstream tar of PACKAGE in SUITE, as DIR/NAME. Only the tar is asked for: the
# packaging is not needed, and not every mirror keeps it.
source_tar() {
        local name=$1 suite=$2 package=$3 base=$work/$1 apt
        [ ! -e "$dir/$name/.complete" ] || return 0
        mkdir -p "$base/lists/partial" "$base/cache/archives/partial" "$base/src"
        echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$base/sources.list"
        apt=(-qq -o Dir::Etc::sourcelist="$base/sources.list" -o Dir::Etc::sourceparts=/dev/null
                -o Dir::State::lists="$base/lists" -o Dir::Cache="$base/cache" -o Dir::State::status=/dev/null
                -o Acquire::Languages=none -o APT::Sandbox::User=root)
        apt-get "${apt[@]}" update
        (cd "$base/src" && apt-get "${apt[@]}" source --tar-only --download-only "$package")
        rm -rf "${dir:?}/$name"
        mkdir -p "$dir/$name"
        tar -xf "$base"/src/*.orig.tar.* --strip-components=1 -C "$dir/$name"
        touch "$dir/$name/.complete"
}

source_tar runtime-tools trixie golang-github-opencontainers-runtime-tools
source_tar crun trixie crun
