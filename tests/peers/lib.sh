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

# Where Debian packages come from: the mirror that this machine's apt uses.
debian_mirror() {
    local mirror
    mirror=${INGOT_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/$')}
    echo "${mirror:?no Debian mirror in apt\'s sources: set INGOT_DEBIAN_MIRROR}"
}

# with_lock NAME COMMAND...: run COMMAND while holding the lock of piece NAME.
# Its children inherit the lock, so that what a killed run left running is
# waited for rather than raced with.
with_lock() {
    local name=$1
    shift
    mkdir -p "$PEERS_CACHE"
    (
        flock 9
        "$@"
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

# make_initrd SCENARIO OUT: the cached file system plus an archive with the
# scenario and the directory of scenarios (for what they have in common).
make_initrd() {
    local overlay=$2.d
    [[ -e $PEERS_CACHE/guest/rootfs.cpio ]] || die "no guest in $PEERS_CACHE: run guest.sh first"
    mkdir -p "$overlay/scenarios"
    cp "$PEERS_DIR"/scenarios/*.sh "$overlay/scenarios/"
    cp "$1" "$overlay/scenario"
    {
        cat "$PEERS_CACHE/guest/rootfs.cpio"
        (cd "$overlay" && find . | cpio --quiet --create --format=newc --owner=0:0)
    } >"$2"
    rm -rf "$overlay"
}

# run_guest SECONDS LOG COMMAND...: run the guest, showing its console and
# keeping it in LOG, and judge by the console whether the scenario succeeded.
# The guest dies with its time limit, and with this script however it ends.
run_guest() {
    local seconds=$1 log=$2 status=0 started=$SECONDS
    shift 2
    setpriv --pdeathsig TERM timeout --kill-after=2 "$seconds" \
        setpriv --pdeathsig KILL "$@" </dev/null 2>&1 |
        sed -u 's/\r//g' | tee "$log" || status=${PIPESTATUS[0]}
    if ((status == 124 || status == 137)); then
        say "stopped after the time limit of $seconds s"
        return 124
    fi
    say "the guest ran for $((SECONDS - started)) s"
    if ! grep -qx 'SCENARIO OK' "$log"; then
        say "the scenario did not succeed (the guest's exit status: $status)"
        return 1
    fi
}
