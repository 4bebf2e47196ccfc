# The same as basic.sh over two request queues, each with a processor and a
# fio job of its own. Needs run-guest --queues 2 and a server with two queues.

. /scenarios/common.sh

wait_for_disk
queues=$(queue_count)
[ "$queues" = 2 ] || fail "$queues queue(s) instead of 2"
exercise_disk
echo "SCENARIO OK"
