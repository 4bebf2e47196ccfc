# The server is killed and started again while the guest writes: no request
# may be lost, and every acknowledged write must be there at the end.
#
# Prints "SCENARIO WRITING" when the harness may begin with that, and needs
# run-guest --reconnect. Any number of queues and of kills will do; there are
# requests in flight all the time. A lost request shows as a guest that never
# ends, so choose the time limit with care. Overwrites the disk.
#
# Variables: SECONDS_WRITING   how long the writing takes about (default 4)

. /scenarios/common.sh

wait_for_disk
jobs=$(queue_count)
block=$(cat /sys/block/vda/queue/logical_block_size)
blocks=$((${SECONDS_WRITING:-4} * 2000 / jobs))

# Every block is to hold its own offset, so a lost and a misplaced write are
# both noticed.
all_blocks() {
    run_fio --name=job --bs="$block" --size=$((blocks * block)) \
        --numjobs="$jobs" --offset_increment=$((blocks * block)) \
        --verify=pattern --verify_pattern='%o"written_"' --verify_dump=0 "$@"
}

writes() {
    awk '{ print $5 }' /sys/block/vda/stat
}

blkdiscard -f -z -l $((jobs * blocks * block)) "$disk"

step "writing $((jobs * blocks)) blocks of $block bytes"
before=$(writes)
(
    # Announced once requests are really going.
    until [ "$(writes)" -gt $((before + 200)) ]; do
        sleep 0.1
    done
    echo "SCENARIO WRITING"
) &
# Flushes and large reads beside the small writes have the server complete
# requests in another order than it was given them; were it the same order, the
# ring alone would tell a new server what is left to do.
grep -q back /sys/block/vda/queue/write_cache ||
    echo "write back" >/sys/block/vda/cache_type ||
    echo "the write cache cannot be turned on: no flushes"
disturb() { # NAME OPTION...
    name=$1
    shift
    fio --output="/tmp/$name.log" --eta=never --name="$name" --filename="$disk" --direct=1 \
        --ioengine=libaio --offset=32m --size=16m --time_based --runtime=600 "$@" &
    disturbers="$disturbers $!"
}
disturbers=''
disturb flushes --rw=randwrite --bs="$block" --iodepth=1 --fsync=1
disturb reads --rw=randread --bsrange=256k-512k --iodepth=4 --thinktime=30ms --thinktime_blocks=4
all_blocks --rw=randwrite --iodepth=32 --do_verify=0
# shellcheck disable=SC2086  # a list of numbers
kill -INT $disturbers
wait
step "all requests answered"

step "verification"
echo 3 >/proc/sys/vm/drop_caches
all_blocks --rw=write --iodepth=64 --iodepth_batch=32 --verify_only
echo "SCENARIO OK"
