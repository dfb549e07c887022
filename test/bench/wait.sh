#!/usr/bin/env bash
# Builds wait_bench and runs it: in its own process, and against the binary on a free port with a new data directory
# below BENCH_DIR (default: build/), which should be on a real disk.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory build/libhttp.a build/libstore.a build/flux-event-store
mkdir -p build/bench
read -r -a libs <<<"$(pkg-config --cflags --libs libevent libevent_pthreads libevent_openssl openssl jansson lmdb)"
cc -std=c17 -O2 -g -D_GNU_SOURCE -I. -Itest/unit -o build/bench/wait_bench test/bench/wait_bench.c build/libhttp.a \
  build/libstore.a "${libs[@]}" -lpthread
ulimit -n "$(ulimit -Hn)"
dir=$(mktemp -d "${BENCH_DIR:-build}/wait-bench-XXXXXX")
pid=
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$dir"' EXIT
build/bench/wait_bench bytes "$dir/bytes"
build/flux-event-store --no-kube --listen 127.0.0.1:0 --data-dir "$dir/data" --log-level info 2>"$dir/log" &
pid=$!
until port=$(sed -n '/listening/s/.*127\.0\.0\.1:\([1-9][0-9]*\).*/\1/p' "$dir/log") && [ -n "$port" ]; do
  kill -0 "$pid" || exit 1
done
build/bench/wait_bench "$port" "$pid"
