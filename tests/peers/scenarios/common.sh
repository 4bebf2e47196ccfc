# What the scenarios have in common; sourced inside the guest.
# shellcheck shell=sh

set -eu

disk=/dev/vda

fail() {
    echo "SCENARIO ERROR: $*"
    exit 1
}

step() {
    echo "== $*"
}

queue_count() {
    set -- /sys/block/vda/mq/*
    echo $#
}

wait_for_disk() {
    tries=0
    until [ -b "$disk" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || fail "$disk does not appear"
        sleep 0.1
    done
    step "$disk: $(cat /sys/block/vda/size) sectors," \
        "$(queue_count) queue(s), ro=$(cat /sys/block/vda/ro)," \
        "cache=$(cat /sys/block/vda/queue/write_cache)," \
        "discard_max=$(cat /sys/block/vda/queue/discard_max_bytes)," \
        "write_zeroes_max=$(cat /sys/block/vda/queue/write_zeroes_max_bytes)," \
        "blocks=$(cat /sys/block/vda/queue/logical_block_size)/$(cat /sys/block/vda/queue/physical_block_size)," \
        "serial=$(cat /sys/block/vda/serial)"
}

# checksum OFFSET-MIB LENGTH-MIB: of the disk itself, past the page cache.
checksum() {
    dd if="$disk" bs=1M skip="$1" count="$2" iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1
}

zeroes() { # LENGTH-MIB
    dd if=/dev/zero bs=1M count="$1" 2>/dev/null | sha256sum | cut -d' ' -f1
}

# pattern OFFSET-MIB LENGTH-MIB: write random data, print its checksum.
pattern() {
    dd if=/dev/urandom of=/tmp/pattern bs=1M count="$2" 2>/dev/null
    dd if=/tmp/pattern of="$disk" bs=1M seek="$1" oflag=direct conv=notrunc,fsync 2>/dev/null
    sha256sum </tmp/pattern | cut -d' ' -f1
    rm /tmp/pattern
}

run_fio() {
    fio --output=/tmp/fio.log --eta=never --filename="$disk" --direct=1 --ioengine=libaio \
        --verify_fatal=1 --exitall_on_error "$@" || {
        cat /tmp/fio.log
        fail "fio: $*"
    }
    sed -n '/^  *\(read\|write\):/p' /tmp/fio.log
}

# Everything a disk of 64 MiB or more has to be good for. Overwrites it.
exercise_disk() {
    step "write zeroes"
    before=$(pattern 0 4)
    [ "$(checksum 0 4)" = "$before" ] || fail "reads differ from what was written"
    blkdiscard -f -z -o $((1024 * 1024)) -l $((2 * 1024 * 1024)) "$disk"
    [ "$(checksum 1 2)" = "$(zeroes 2)" ] || fail "the zeroed range isn't zero"
    blkdiscard -f -z -l $((4 * 1024 * 1024)) "$disk"
    [ "$(checksum 0 4)" = "$(zeroes 4)" ] || fail "the zeroed range isn't zero"

    if [ "$(cat /sys/block/vda/queue/discard_max_bytes)" != 0 ]; then
        step "discard"
        outside=$(pattern 4 1)
        blkdiscard -f -o 0 -l $((4 * 1024 * 1024)) "$disk"
        [ "$(checksum 4 1)" = "$outside" ] || fail "the discard reached too far"
    fi

    step "random reads and writes"
    run_fio --name=mixed --rw=randrw --bsrange=4k-64k --size=8m --iodepth=16 \
        --numjobs="$(queue_count)" --offset_increment=16m \
        --verify=crc32c --verify_backlog=64

    step "file system"
    mke2fs -q -t ext4 -F "$disk"
    mount -t ext4 -o discard "$disk" /mnt
    for i in 1 2 3 4 5 6; do
        dd if=/dev/urandom of="/mnt/file$i" bs=64k count=$((i * 8)) 2>/dev/null
    done
    (cd /mnt && sha256sum file* >/tmp/sums)
    cp /tmp/sums /mnt/sums
    sync
    rm /mnt/file2 /mnt/file5
    grep -v 'file[25]' /tmp/sums >/tmp/left
    if [ "$(cat /sys/block/vda/queue/discard_max_bytes)" != 0 ]; then
        fstrim /mnt
    fi
    umount /mnt
    e2fsck -fn "$disk" >/tmp/fsck.log 2>&1 || { cat /tmp/fsck.log; fail "the file system is damaged"; }

    step "second mount"
    echo 3 >/proc/sys/vm/drop_caches
    mount -t ext4 "$disk" /mnt
    cmp /tmp/sums /mnt/sums || fail "a file changed"
    (cd /mnt && sha256sum -c -s /tmp/left) || fail "a file changed"
    umount /mnt
}
