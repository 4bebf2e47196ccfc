# A disk that the server exports read-only: the guest must know it, must be
# unable to write, and must read the right data.
#
# Variables: SUM   the SHA-256 of the disk's first MIB mebibytes
#            MIB   default 1

. /scenarios/common.sh

wait_for_disk
[ "$(cat /sys/block/vda/ro)" = 1 ] || fail "the disk is not read-only"

if dd if=/dev/zero of="$disk" bs=4k count=1 oflag=direct 2>/dev/null; then
    fail "a write succeeded"
fi
if blkdiscard -f -z -l 4096 "$disk" 2>/dev/null; then
    fail "writing zeroes succeeded"
fi

sum=$(checksum 0 "${MIB:-1}")
[ "$sum" = "${SUM:?}" ] || fail "read $sum instead of $SUM"
echo "SCENARIO OK"
