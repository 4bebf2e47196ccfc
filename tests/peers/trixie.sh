#!/usr/bin/env bash
#
# Makes a Debian 13 tree in the cache for the programs Debian 12 has too old
# or not at all: QEMU 10 with its libblkio block driver (virtio-blk-vhost-user),
# which is the only way to make qemu-img a vhost-user-blk client.
#
# The programs run straight on the host through `trixie-run` (no chroot), so
# they see the host's files and sockets. Afterwards the cache's bin directory
# holds qemu-img-10, qemu-io-10, qemu-nbd-10, qemu-storage-daemon-10 and
# qemu-system-x86_64-10, and its bin-10 directory the same programs under their
# own names, for command lines that have to be run to the letter.
#
# usage: trixie.sh

set -euo pipefail
. "$(dirname "$0")/lib.sh"

# qemu-storage-daemon is part of qemu-system-common, the blkio module part of
# qemu-block-extra.
packages=qemu-utils,qemu-block-extra,qemu-system-common,qemu-system-x86
programs=(qemu-img qemu-io qemu-nbd qemu-storage-daemon qemu-system-x86_64)
key="trixie minbase $packages"

build() {
    if is_current trixie "$key"; then
        return
    fi
    ((EUID == 0)) || die "making the Debian 13 tree needs root (debootstrap): run this script as root, or with sudo and INGOT_CACHE=$PEERS_CACHE"
    command -v debootstrap >/dev/null || die "debootstrap is missing: run packages.sh first"

    local temp=$PEERS_CACHE/.trixie.new
    discard "$temp"
    say "making the Debian 13 tree in $PEERS_CACHE/trixie (a few minutes)"
    debootstrap --variant=minbase --include="$packages" \
        trixie "$temp" "$(debian_mirror)" >"$PEERS_CACHE/trixie.log" 2>&1 || {
        tail -n 30 "$PEERS_CACHE/trixie.log" >&2
        die "debootstrap failed; its log is $PEERS_CACHE/trixie.log"
    }
    rm -rf "$temp"/var/cache/apt/archives/*.deb "$temp"/var/lib/apt/lists/*
    publish trixie "$temp" "$key"
}

# An interrupted debootstrap leaves file systems mounted in its tree.
discard() { # TREE
    local mounted
    while read -r _ mounted _; do
        if [[ $mounted == "$1"/* ]]; then
            umount -l "$mounted"
        fi
    done </proc/mounts
    rm -rf --one-file-system "$1"
}

# The cache may outlive this checkout, so it gets its own copy of trixie-run.
link_programs() {
    local program
    mkdir -p "$PEERS_CACHE/bin" "$PEERS_CACHE/bin-10"
    put_program trixie-run <"$PEERS_DIR/trixie-run"
    for program in "${programs[@]}"; do
        ln -sfT "../bin/$program-10" "$PEERS_CACHE/bin-10/$program"
        put_program "$program-10" <<END
#!/bin/sh
bin=\$(dirname "\$(readlink -f "\$0")")
INGOT_CACHE=\${bin%/bin} exec "\$bin/trixie-run" $program "\$@"
END
    done
}

put_program() {
    local new=$PEERS_CACHE/bin/.new.$$
    cat >"$new"
    chmod +x "$new"
    mv -f "$new" "$PEERS_CACHE/bin/$1"
}

make_all() {
    build
    link_programs
}

with_lock trixie make_all
