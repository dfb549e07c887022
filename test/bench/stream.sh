#!/usr/bin/env bash
# Builds stream_bench and runs it against the binary on a free port, with a data directory of 100,000 records below
# BENCH_DIR (default: build/), which should be on a real disk.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory build/libstore.a build/flux-event-store
mkdir -p build/bench
read -r -a libs <<<"$(pkg-config --cflags --libs jansson lmdb)"
cc -std=c17 -O2 -g -D_GNU_SOURCE -I. -o build/bench/stream_bench test/bench/stream_bench.c build/libstore.a \
  "${libs[@]}" -lpthread
ulimit -n "$(ulimit -Hn)"
dir=$(mktemp -d "${BENCH_DIR:-build}/stream-bench-XXXXXX")
pid=
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$dir"' EXIT
build/bench/stream_bench fill "$dir/data"
build/flux-event-store --no-kube --listen 127.0.0.1:0 --data-dir "$dir/data" --retention 0 --log-level info 2>"$dir/log" &
pid=$!
until port=$(sed -n '/listening/s/.*127\.0\.0\.1:\([1-9][0-9]*\).*/\1/p' "$dir/log") && [ -n "$port" ]; do
  kill -0 "$pid" || exit 1
done
until curl -fsS -o "$dir/ready" "http://127.0.0.1:$port/readyz" 2>/dev/null; do kill -0 "$pid"; done
build/bench/stream_bench "$port" "$pid"
