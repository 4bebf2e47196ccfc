# Shared by the benchmarks; sourced, never run.
# shellcheck shell=bash
set -euo pipefail
export LC_ALL=C

bench_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ingot=${INGOT:-$bench_dir/../artifacts/bin/ingot}
cache=${INGOT_CACHE:-$HOME/.cache/ingot}
rounds=${ROUNDS:-5}
scale=${SCALE:-100} # percent of the usual number of requests
work=$(mktemp -d "${BENCH_TMP:-/var/tmp}/ingot-bench.XXXXXX")
tmpfs=$(mktemp -d /dev/shm/ingot-bench.XXXXXX)
servers=()

cleanup() {
    local pid
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work" "$tmpfs"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

die() { echo "bench: $*" >&2; exit 1; }

# The newest peer on the machine: QEMU 10 from the cached Debian 13 tree, else the system's.
peer() { # program
    if [ -x "$cache/bin/$1-10" ]; then
        echo "$cache/bin/$1-10"
    else
        command -v "$1" || die "$1 is missing: run tests/peers/packages.sh and tests/peers/trixie.sh"
    fi
}

scaled() { echo $(($1 * scale / 100)); }

# User and system time of a process in microseconds.
cpu_us() { # pid
    awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); printf "%d\n", ($12 + $13) * 1000000 / hz }' "/proc/$1/stat"
}

resident_kib() { awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"; }

# Starts a server and waits until it listens; its pid is in $server.
serve() { # socket command...
    local socket=$1 tries=0
    shift
    "$@" >"$work/server.log" 2>&1 &
    server=$!
    servers+=("$server")
    until grep -q " $socket\$" /proc/net/unix; do
        kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; die "the server ended: $*"; }
        tries=$((tries + 1))
        [ "$tries" -lt 500 ] || die "no socket after 10 s: $*"
        sleep 0.02
    done
}

stop() { # pid
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# The wall time of a command that must succeed.
seconds() { # command...
    local from to
    from=$(date +%s%N)
    "$@" >"$work/out" 2>&1 || { cat "$work/out" >&2; die "failed: $*"; }
    to=$(date +%s%N)
    awk -v a="$from" -v b="$to" 'BEGIN { printf "%.6f\n", (b - a) / 1e9 }'
}

# The wall time and the peak memory in KiB of a command that must succeed.
seconds_and_kib() { # command...
    /usr/bin/time -o "$work/time" -f '%e %M' "$@" >"$work/out" 2>&1 || { cat "$work/out" >&2; die "failed: $*"; }
    tail -n 1 "$work/time"
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f\n", (b > 0 ? a / b : 0) }'; }

heading() { printf '\n%-50s %13s %13s %8s  %s\n' "$1" ingot peer ratio bar; }

# One line of the report: what, ours, the peer's, the ratio, and whether it keeps the bar. With the number of pairs that missed the bar, a miss that
# chance explains (fewer than half of the pairs and two standard deviations) is "even".
report() { # name ours peers ratio min|max bar ["misses pairs"]
    awk -v name="$1" -v ours="$2" -v theirs="$3" -v ratio="$4" -v kind="$5" -v bar="$6" -v pairs="${7-}" 'BEGIN {
        holds = kind == "min" ? ratio >= bar : ratio <= bar
        even = split(pairs, p, " ") == 2 && p[1] < p[2] / 2 + sqrt(p[2])
        printf "%-50s %13s %13s %8s  %s %-4s %s\n", name, ours, theirs, ratio, kind == "min" ? ">=" : "<=", bar, holds ? "ok" : even ? "even" : "MISSED" }'
}
