#!/usr/bin/env bash
# Builds and runs store_bench in a new directory below BENCH_DIR (default: build/), which should be on a real disk.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory build/libstore.a
mkdir -p build/bench
read -r -a libs <<<"$(pkg-config --cflags --libs jansson lmdb)"
cc -std=c17 -O2 -g -D_GNU_SOURCE -I. -o build/bench/store_bench test/bench/store_bench.c build/libstore.a \
  "${libs[@]}" -lpthread
dir=$(mktemp -d "${BENCH_DIR:-build}/store-bench-XXXXXX")
trap 'rm -rf "$dir"' EXIT
build/bench/store_bench "$dir" "${RECORDS:-1000000}"
