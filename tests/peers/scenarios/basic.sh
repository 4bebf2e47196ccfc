# A disk in ordinary use: direct I/O with verification, zeroes, discard, and a
# file system that is made, filled, trimmed, checked and mounted again.
# Overwrites the disk, which must be 64 MiB or larger.
#
# Variables: PACKED   1 when packed virtqueues must have been agreed on

. /scenarios/common.sh

wait_for_disk
if [ -n "${PACKED-}" ]; then
    # VIRTIO_F_RING_PACKED is bit 34; the file begins with bit 0.
    [ "$(cut -c35 /sys/block/vda/device/features)" = 1 ] || fail "the virtqueues are not packed"
fi
exercise_disk
echo "SCENARIO OK"
