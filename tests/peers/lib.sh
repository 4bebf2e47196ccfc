# Shared helpers for the scripts in this directory; sourced, never run.
#
# The cache directory holds everything that is expensive to make. A piece is
# built under a temporary name beside its final one and renamed at the end,
# all of it under one lock per piece, so an interrupted or a concurrent run
# never leaves or sees a half-made piece.

# shellcheck shell=bash

export LC_ALL=C.UTF-8
umask 022

PEERS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PEERS_CACHE=${INGOT_CACHE:-${HOME:?}/.cache/ingot}
export PEERS_DIR PEERS_CACHE

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# Where Debian packages come from.
debian_mirror() {
    echo "${INGOT_DEBIAN_MIRROR:-http://deb.debian.org/debian}"
}

# with_lock NAME COMMAND...: run COMMAND while holding the lock of piece NAME.
with_lock() {
    local name=$1
    shift
    mkdir -p "$PEERS_CACHE"
    (
        flock 9
        "$@" 9>&-
    ) 9>"$PEERS_CACHE/.$name.lock"
}

# A piece is current when its stamp holds the expected key (the recipe's
# version or checksum); a changed recipe therefore rebuilds it.
is_current() { # NAME KEY
    [[ -e $PEERS_CACHE/$1 && -e $PEERS_CACHE/.$1.stamp ]] &&
        [[ $(<"$PEERS_CACHE/.$1.stamp") == "$2" ]]
}

# Put the freshly built TEMP in place as piece NAME.
publish() { # NAME TEMP KEY
    local final=$PEERS_CACHE/$1
    rm -f "$PEERS_CACHE/.$1.stamp"
    if [[ -e $final ]]; then
        mv -T "$final" "$final.old.$$"
    fi
    mv -T "$2" "$final"
    printf '%s\n' "$3" >"$PEERS_CACHE/.$1.stamp"
    rm -rf --one-file-system "$final.old.$$"
}
