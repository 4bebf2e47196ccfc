# A disk in ordinary use: direct I/O with verification, zeroes, discard, and a
# file system that is made, filled, trimmed, checked and mounted again.
# Overwrites the disk, which must be 64 MiB or larger.

. /scenarios/common.sh

wait_for_disk
exercise_disk
echo "SCENARIO OK"
