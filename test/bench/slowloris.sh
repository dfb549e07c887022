#!/usr/bin/env bash
# What clients that mean harm do to those that do not: the latency of durable POSTs (one sender, keep-alive) while 1,000
# and 5,000 connections send a head byte by byte, while there are more of them than connections are allowed, and while
# 10,000 connections a second come and go; each beside the same without them, measured just before. SECONDS_EACH may be
# set. Bars: p99 below 5 ms or twice that without, whichever is more, and no descriptor
# left behind.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory build/flux-event-store
mkdir -p build/bench
read -r -a libs <<<"$(pkg-config --cflags --libs openssl)"
for program in load hostile; do
  cc -std=c17 -O2 -g -D_GNU_SOURCE -o "build/bench/$program" "test/bench/$program.c" "${libs[@]}"
done
ulimit -n "$(ulimit -Hn)"
seconds=${SECONDS_EACH:-10}
dir=$(mktemp -d "${BENCH_DIR:-build}/slowloris-bench-XXXXXX")
pid=
trap '[ -z "$pid" ] || kill "$pid"; wait 2>/dev/null; rm -rf "$dir"' EXIT

# server LIMIT: starts it with so many descriptors at most.
server() {
  [ -z "$pid" ] || kill "$pid"
  wait
  : >"$dir/log"
  (ulimit -n "$1" && exec build/flux-event-store --no-kube --listen 127.0.0.1:0 --data-dir "$dir/data" \
    --allow-network-fs --log-level info 2>"$dir/log") &
  pid=$!
  until port=$(sed -n '/listening/s/.*127\.0\.0\.1:\([1-9][0-9]*\).*/\1/p' "$dir/log") && [ -n "$port" ]; do
    kill -0 "$pid" || exit 1
  done
  until curl -fsS "http://127.0.0.1:$port/readyz" >/dev/null 2>&1; do kill -0 "$pid"; done
}
descriptors() {
  find "/proc/$pid/fd" -mindepth 1 | wc -l
}
resident() {
  awk '/^VmRSS/ {printf "%.0f", $2 / 1024}' "/proc/$pid/status"
}
# post SECONDS: "per second, p50, p99, longest" (us) of one sender.
post() {
  build/bench/load events "127.0.0.1:$port" 1 "$1"
}
# against NAME KIND N: a row.
against() {
  local before plain hostile with peak
  before=$(descriptors)
  plain=$(post $((seconds / 2)))
  build/bench/hostile "$2" "127.0.0.1:$port" "$3" $((seconds + 3)) >"$dir/hostile" &
  hostile=$!
  until grep -q ready "$dir/hostile"; do kill -0 "$hostile"; done
  with=$(post "$seconds")
  peak=$(resident)
  wait "$hostile"
  for ((i = 0; i < 100 && $(descriptors) > before; i++)); do sleep 0.1; done
  # shellcheck disable=SC2086
  printf '%s %s\n' "$plain" "$with" | awk -v name="$1" -v made="$(tail -n 1 "$dir/hostile")" -v left=$(($(descriptors) - before)) \
    -v peak="$peak" '{printf "hostile: %s: POST p50 %.2f ms, p99 %.2f ms, longest %.1f ms (without: %.2f, %.2f, %.1f); %s MiB resident, %d descriptors left; %s\n",
      name, $6 / 1000, $7 / 1000, $8 / 1000, $2 / 1000, $3 / 1000, $4 / 1000, peak, left, made
      bar = 2 * $3 > 5000 ? 2 * $3 / 1000 : 5
      printf "row\tPOST p99 beside %s\t%.2f\tms\t<=\t%.2f\twithout %.2f ms\n", name, $7 / 1000, bar, $3 / 1000}'
}
server "$(ulimit -Hn)"
against "1,000 slow connections" slow 1000
against "5,000 slow connections" slow 5000
against "10,000 connections a second" storm 10000
# A limit of 4,000 descriptors allows 3,744 connections; the others come back each time they are closed for another.
server 4000
against "5,000 slow connections where 3,744 are allowed" slow 5000
