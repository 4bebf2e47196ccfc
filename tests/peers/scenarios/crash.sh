# The server is killed and started again while the guest writes: no request
# may be lost, and every acknowledged write must be there at the end.
#
# Prints "SCENARIO WRITING" when the harness may begin with that, and needs
# run-guest --reconnect. Any number of queues will do.
#
# Variables: SECONDS_WRITING   how long the writing takes at least (default 8)

. /scenarios/common.sh

wait_for_disk
jobs=$(ls /sys/block/vda/mq | wc -l)
seconds=${SECONDS_WRITING:-8}
blocks=$((seconds * 250))

# A second job file option set shared by the writing and the verification, so
# that both agree on every block's place and contents.
blocks_of() { # SEED OPTION...
    seed=$1
    shift
    run_fio --name=job --rw=randwrite --bs=4k --size=$((blocks * 4))k --iodepth=16 \
        --numjobs="$jobs" --offset_increment=$((blocks * 4))k \
        --randrepeat=0 --randseed="$seed" --verify=crc32c --verify_dump=0 "$@"
}

step "first generation"
blocks_of 1 --do_verify=0

step "second generation"
(
    # Announced once requests are really going.
    start=$(cut -d' ' -f7 /sys/block/vda/stat; awk '{ print $5 }' /sys/block/vda/stat)
    until [ "$(awk '{ print $5 }' /sys/block/vda/stat)" -gt $((${start##* } + 100)) ]; do
        sleep 0.1
    done
    echo "SCENARIO WRITING"
) &
blocks_of 2 --do_verify=0 --rate_iops=250 --fsync=64
wait

step "verification"
echo 3 >/proc/sys/vm/drop_caches
blocks_of 2 --verify_only
echo "SCENARIO OK"
