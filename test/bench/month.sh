#!/usr/bin/env bash
# Builds and runs month_bench in a new directory, in memory where there is one: the disk's speed is not the question.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory build/libstore.a
mkdir -p build/bench
read -r -a libs <<<"$(pkg-config --cflags --libs jansson lmdb)"
cc -std=c17 -O2 -g -D_GNU_SOURCE -I. -o build/bench/month_bench test/bench/month_bench.c build/libstore.a \
  "${libs[@]}" -lpthread
base=${BENCH_DIR:-build}
[ -w /dev/shm ] && base=/dev/shm
dir=$(mktemp -d "$base/month-bench-XXXXXX")
trap 'rm -rf "$dir"' EXIT
build/bench/month_bench "$dir/data"
