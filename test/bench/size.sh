#!/usr/bin/env bash
# What events take on disk and in memory: distinct ones as Flux sends them, posted for SECONDS_EACH seconds. The figures
# of docs/operations.md (Sizing) come from here.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory all
mkdir -p build/bench
cc -std=c17 -O2 -g -D_GNU_SOURCE -o build/bench/load test/bench/load.c -lcrypto
dir=$(mktemp -d "${BENCH_DIR:-build}/size-bench-XXXXXX")
server=
trap 'kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT

start() {
  build/flux-event-store --no-kube --listen 127.0.0.1:0 --data-dir "$dir/data" 2>"$dir/log" &
  server=$!
  until address=$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' "$dir/log") && [ -n "$address" ]; do kill -0 "$server"; done
  until curl -fsS -o /dev/null "http://$address/readyz" 2>/dev/null; do kill -0 "$server"; done
}
stop() {
  kill "$server"
  wait "$server"
}
# The memory that is no page of a file, in bytes.
own() {
  awk '/^RssAnon:/ { print $2 * 1024 }' "/proc/$server/status"
}
metric() {
  curl -sS "http://$address/metrics" | awk -v name="flux_event_store_$1" '$1 == name { printf "%d\n", $2 }'
}

start
empty=$(own)
build/bench/load events "$address" 64 "${SECONDS_EACH:-10}"
posted=$(own)
records=$(metric store_records)
bytes=$(metric store_bytes)
index=$(metric store_index_bytes)
body=$(curl -sS -H 'Accept: application/octet-stream' "http://$address/events/1" | wc -c)
stop
start
[ "$(metric store_records)" -eq "$records" ]
again=$(own)
stop
awk -v n="$records" -v body="$body" -v bytes="$bytes" -v index_bytes="$index" -v empty="$empty" -v posted="$posted" -v again="$again" 'BEGIN {
  printf "%d events of %d bytes: %.1f MB on disk, %.0f bytes a record beside its body\n", n, body, bytes / 1e6, bytes / n - body
  printf "memory: %.1f MiB when empty, %.1f MiB with them (%.0f bytes a record, of which the index %.0f), %.1f MiB after a restart\n",
    empty / 1048576, posted / 1048576, (posted - empty) / n, index_bytes / n, again / 1048576
}'
