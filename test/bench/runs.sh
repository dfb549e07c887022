#!/usr/bin/env bash
# Builds what runs.py needs and runs it: what waiting Runs cost the binary, and how fast one event ends a thousand.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory all
make --no-print-directory -f test/Makefile build/test/fake-apiserver build/test/heap_said.so build/test/fill_store
mkdir -p build/bench
cc -std=c17 -O2 -g -D_GNU_SOURCE -o build/bench/disk test/bench/disk.c -llmdb
ulimit -n "$(ulimit -Hn)"
FES_BINARY=build/flux-event-store FES_FAKE=build/test/fake-apiserver /usr/bin/python3 test/bench/runs.py
