#!/usr/bin/env bash
# Stores 100,000 records below BENCH_DIR (default: build/), and has scrape.py measure what a scrape of /metrics costs.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory all
make --no-print-directory -f test/Makefile build/test/fake-apiserver
mkdir -p build/bench
read -r -a libs <<<"$(pkg-config --cflags --libs jansson lmdb)"
cc -std=c17 -O2 -g -D_GNU_SOURCE -I. -o build/bench/stream_bench test/bench/stream_bench.c build/libstore.a \
  "${libs[@]}" -lpthread
ulimit -n "$(ulimit -Hn)"
dir=$(mktemp -d "${BENCH_DIR:-build}/scrape-bench-XXXXXX")
trap 'rm -rf "$dir"' EXIT
build/bench/stream_bench fill "$dir/data"
FES_BINARY=build/flux-event-store FES_FAKE=build/test/fake-apiserver /usr/bin/python3 test/bench/scrape.py "$dir/data"
