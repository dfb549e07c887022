#!/usr/bin/env bash
# How long after it is started the binary can store events, with RECORDS records (1,000,000): after a clean stop, after
# kill -9, and with the file out of the page cache. BENCH_DIR (default: build/) should be on a real disk.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory all
make --no-print-directory -f test/Makefile build/test/fill_store
records=${RECORDS:-1000000}
dir=$(mktemp -d "${BENCH_DIR:-build}/open-bench-XXXXXX")
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
build/test/fill_store "$dir/data" "$records" 1200

# start: sets ms, from exec to the first 200 of /readyz.
start() {
  local begin port=
  : >"$dir/log"
  begin=$(date +%s%N)
  build/flux-event-store --no-kube --listen 127.0.0.1:0 --data-dir "$dir/data" --allow-network-fs --retention 0 --max-size 0 2>"$dir/log" &
  pid=$!
  until port=$(sed -n '/listening/s/.*127\.0\.0\.1:\([1-9][0-9]*\).*/\1/p' "$dir/log") && [ -n "$port" ]; do kill -0 "$pid"; done
  until curl -fsS -o "$dir/ready" "http://127.0.0.1:$port/readyz" 2>/dev/null; do kill -0 "$pid"; done
  ms=$((($(date +%s%N) - begin) / 1000000))
}
# tell WHAT BAR
tell() {
  echo "open: $1: ready after $ms ms, $records records (bar $2)"
  printf 'row\tready with %s records, %s\t%s\tms\t<=\t%s\tfrom exec to 200 of /readyz\n' "$records" "$1" "$ms" "$2"
}
start # fill_store's pages are warm
kill "$pid" && wait "$pid"
start
tell "warm" 1000
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
start
tell "warm, after kill -9" 1000
kill "$pid" && wait "$pid"
sync "$dir/data/data.mdb"
dd if="$dir/data/data.mdb" iflag=nocache count=0 2>/dev/null
start
tell "cold" 2000
kill "$pid" && wait "$pid"
pid=
