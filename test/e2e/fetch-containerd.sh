#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fetch-containerd.sh SUITE DIR: unpacks the containerd of another Debian suite into DIR without installing
# anything. The archive's address is taken from this machine's own apt configuration.
set -euo pipefail

suite=$1
dir=$2
[ ! -x "$dir/usr/bin/containerd" ] || exit 0

sources=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
mirror=$(sed -n 's/^URIs: *\([^ ]*debian\)\/* *$/\1/p; s/^deb \(\[[^]]*\] \)\?\([^ ]*debian\)\/* .*/\2/p' \
        <<<"$sources" | head -n 1)
[ -n "$mirror" ] || { echo "fetch-containerd: no Debian archive in this machine's apt sources" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources.list"
apt=(-qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o Dir::State::status=/dev/null
        -o Acquire::Languages=none -o APT::Sandbox::User=root)
apt-get "${apt[@]}" update
(cd "$work" && apt-get "${apt[@]}" download "containerd/$suite")
mkdir -p "$dir"
dpkg -x "$work"/containerd_*.deb "$dir"
