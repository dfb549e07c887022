#!/usr/bin/env bash
# What the guard costs: requests per second (wrk, POST of a real event) and processor time per request of bare evhttp
# and of the guarded server, in turns within one run, and the ratios. ROUNDS, SECONDS_EACH and CONNECTIONS may be set.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory build/libhttp.a build/libstore.a
mkdir -p build/bench
read -r -a libs <<<"$(pkg-config --cflags --libs libevent libevent_pthreads libevent_openssl openssl jansson lmdb)"
cc -std=c17 -O2 -g -D_GNU_SOURCE -I. -o build/bench/http_bench test/bench/http_bench.c build/libhttp.a build/libstore.a \
  "${libs[@]}" -lpthread
dir=$(mktemp -d build/http-bench-XXXXXX)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
cat >"$dir/post.lua" <<'LUA'
wrk.method = "POST"
local file = io.open("test/golden/flux/01-ks-success.json")
wrk.body = file:read("*a")
file:close()
LUA

declare -A pid
for kind in bare guarded; do
  build/bench/http_bench $kind >"$dir/$kind" &
  pid[$kind]=$!
  pids+=($!)
done
ticks() {
  awk '{print $14 + $15}' "/proc/$1/stat"
}
# Prints requests per second and microseconds of processor time per request.
measure() {
  until [ -s "$dir/$1" ]; do :; done
  local before after
  before=$(ticks "${pid[$1]}")
  wrk -t1 -c"${CONNECTIONS:-64}" -d"${SECONDS_EACH:-3}s" -s "$dir/post.lua" "http://$(cat "$dir/$1")/events" >"$dir/out"
  after=$(ticks "${pid[$1]}")
  awk -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" \
    '/requests in/ {n = $1} /^Requests\/sec/ {print $2, ticks * 1000000 / hz / n}' "$dir/out"
}
for ((round = 0; round < ${ROUNDS:-3}; round++)); do
  read -r bare bare_us <<<"$(measure bare)"
  read -r guarded guarded_us <<<"$(measure guarded)"
  awk -v b="$bare" -v g="$guarded" -v bu="$bare_us" -v gu="$guarded_us" 'BEGIN {
    printf "http: bare evhttp %.0f req/s (%.1f us each), guarded %.0f req/s (%.1f us each), ratio %.2f (%.2f)\n",
      b, bu, g, gu, g / b, gu / bu}'
done
