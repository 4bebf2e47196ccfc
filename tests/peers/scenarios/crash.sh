# The server is killed and started again while the guest writes: no request
# may be lost, and every acknowledged write must be there at the end.
#
# Prints "SCENARIO WRITING" when the harness may begin with that, and needs
# run-guest --reconnect. Any number of queues will do.
#
# Variables: SECONDS_WRITING   how long the writing takes about (default 8)

. /scenarios/common.sh

wait_for_disk
jobs=$(queue_count)
blocks=$((${SECONDS_WRITING:-8} * 500))

# Every block is written once per generation. It then holds its own offset and
# the generation, so a lost, a stale and a misplaced write are all noticed.
all_blocks() { # GENERATION OPTION...
    generation=$1
    shift
    run_fio --name=job --rw=randwrite --bs=4k --size=$((blocks * 4))k --iodepth=16 \
        --numjobs="$jobs" --offset_increment=$((blocks * 4))k \
        --verify=pattern --verify_pattern="%o\"$generation\"" --verify_dump=0 "$@"
}

writes() {
    awk '{ print $5 }' /sys/block/vda/stat
}

step "first generation"
all_blocks one_one_ --do_verify=0

step "second generation"
before=$(writes)
(
    # Announced once requests are really going.
    until [ "$(writes)" -gt $((before + 100)) ]; do
        sleep 0.1
    done
    echo "SCENARIO WRITING"
) &
# Bursts with pauses: the writing takes a while, yet most of it happens with
# a full queue, so there are requests in flight whenever the server dies.
all_blocks two_two_ --do_verify=0 --thinktime=100ms --thinktime_blocks=64 --fsync=256
wait
step "all writes acknowledged"

step "verification"
echo 3 >/proc/sys/vm/drop_caches
all_blocks two_two_ --verify_only
echo "SCENARIO OK"
