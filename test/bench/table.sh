#!/usr/bin/env bash
# Durable POSTs beside what they are made of and what they are compared with, all in one run, in turns: fdatasync and
# bare LMDB on the same disk, bare evhttp that stores nothing, and etcd's JSON gateway, driven by the same senders with
# the same events, signed for both HTTP servers (bare evhttp does not look). Prints the median of ROUNDS, and ratios of
# medians with their bars.
# BENCH_DIR (default: build/) should be on a real disk.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory build/libhttp.a build/libstore.a build/flux-event-store
mkdir -p build/bench
read -r -a libs <<<"$(pkg-config --cflags --libs libevent libevent_pthreads libevent_openssl openssl jansson lmdb)"
for program in load disk; do
  cc -std=c17 -O2 -g -D_GNU_SOURCE -o "build/bench/$program" "test/bench/$program.c" "${libs[@]}"
done
cc -std=c17 -O2 -g -D_GNU_SOURCE -I. -o build/bench/http_bench test/bench/http_bench.c build/libhttp.a build/libstore.a \
  "${libs[@]}" -lpthread
ulimit -n "$(ulimit -Hn)"
rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-2}
dir=$(mktemp -d "${BENCH_DIR:-build}/table-bench-XXXXXX")
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null; rm -rf "$dir"' EXIT

# ---- the three servers ----

head -c 32 /dev/urandom | base64 >"$dir/key"
build/flux-event-store --no-kube --listen 127.0.0.1:0 --data-dir "$dir/data" --hmac-key-file "$dir/key" \
  --allow-network-fs --log-level info 2>"$dir/log" &
pid=$!
pids+=("$pid")
build/bench/http_bench bare >"$dir/bare" &
pids+=("$!")
port() {
  /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
etcd=
if command -v etcd >/dev/null; then
  etcd=127.0.0.1:$(port)
  peer=http://127.0.0.1:$(port)
  etcd --data-dir "$dir/etcd" --listen-client-urls "http://$etcd" \
    --advertise-client-urls "http://$etcd" --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
    --initial-cluster "default=$peer" --log-level error >"$dir/etcd.log" 2>&1 &
  pids+=("$!")
  for ((i = 0; i < 100; i++)); do
    curl -fsS "http://$etcd/health" >/dev/null 2>&1 && break
    sleep 0.1
  done
fi
until [ -s "$dir/bare" ] && grep -q '"listening"\|started' "$dir/log"; do kill -0 "$pid"; done
fes=127.0.0.1:$(sed -n 's/.*127\.0\.0\.1:\([1-9][0-9]*\).*/\1/p' "$dir/log" | head -n 1)
bare=$(cat "$dir/bare")
echo "idle: $(awk '/^VmRSS/ {printf "%.1f MiB resident", $2 / 1024} /^RssAnon/ {printf ", %.1f MiB of it its own", $2 / 1024}' "/proc/$pid/status") (bar 10 MiB)"

# ---- measuring ----

# Each result is a line "per second, p50 us, p99 us, longest us" in the file of its row.
loop_ticks() {
  awk '{print $14 + $15}' "/proc/$pid/task/$pid/stat"
}
hz=$(getconf CLK_TCK)
# A new file each time, as short as that of the row beside it.
disk() {
  rm -rf "$dir/disk"
  mkdir "$dir/disk"
  build/bench/disk "$1" "$dir/disk" "$seconds" "${@:2}"
}
for ((round = 0; round < rounds; round++)); do
  disk fdatasync >>"$dir/row.fdatasync"
  disk lmdb 1 >>"$dir/row.lmdb-1"
  build/bench/load events "$fes" 1 "$seconds" "$dir/key" >>"$dir/row.fes-1"
  [ -z "$etcd" ] || build/bench/load puts "$etcd" 1 "$seconds" >>"$dir/row.etcd-1"
  for n in 64 256; do
    disk lmdb $((n / 2)) >>"$dir/row.lmdb-$n"
    build/bench/load events "$bare" "$n" "$seconds" "$dir/key" >>"$dir/row.bare-$n"
    [ -z "$etcd" ] || build/bench/load puts "$etcd" "$n" "$seconds" >>"$dir/row.etcd-$n"
    before=$(loop_ticks)
    build/bench/load events "$fes" "$n" "$seconds" "$dir/key" >>"$dir/row.fes-$n"
    awk -v ticks=$(($(loop_ticks) - before)) -v hz="$hz" -v s="$seconds" \
      'END {printf "%.2f\n", ticks * 1e6 / hz / ($1 * s)}' "$dir/row.fes-$n" >>"$dir/cpu.$n"
  done
done

# ---- printing ----

# median FILE COLUMN
median() {
  sort -g -k "$2,$2" "$1" 2>/dev/null | awk -v c="$2" '{v[NR] = $c} END {print NR ? v[int((NR + 1) / 2)] : "-"}'
}
row() {
  [ -f "$dir/row.$2" ] || return 0
  printf '%-44s %9s/s  p50 %7s us  p99 %7s us\n' "$1" "$(median "$dir/row.$2" 1)" "$(median "$dir/row.$2" 2)" \
    "$(median "$dir/row.$2" 3)"
}
# ratio WHAT ROW ROW COLUMN BAR
ratio() {
  [ -f "$dir/row.$3" ] || return 0
  awk -v what="$1" -v a="$(median "$dir/row.$2" "$4")" -v b="$(median "$dir/row.$3" "$4")" -v bar="$5" \
    'BEGIN {printf "  %-50s %5.2f  (bar: %s)\n", what, a / b, bar}'
}
row 'fdatasync after 1 KiB' fdatasync
row 'bare LMDB, one put' lmdb-1
row 'POST, 1 sender' fes-1
row 'etcd put, 1 sender' etcd-1
for n in 64 256; do
  row "bare LMDB, batches of $((n / 2))" "lmdb-$n"
  row "bare evhttp, $n senders, nothing stored" "bare-$n"
  row "etcd put, $n senders" "etcd-$n"
  row "POST, $n senders" "fes-$n"
  echo "  processor time of the loop per POST: $(median "$dir/cpu.$n" 1) us"
done
ratio 'acknowledgement at 1 sender / bare LMDB commit, p50' fes-1 lmdb-1 2 'at most 1.8'
ratio 'POST / etcd put, 64 senders' fes-64 etcd-64 1 'at least 3'
ratio 'POST / etcd put, 256 senders' fes-256 etcd-256 1 '-'
ratio 'POST / bare evhttp, 64 senders' fes-64 bare-64 1 '-'
ratio 'POST / bare evhttp, 256 senders' fes-256 bare-256 1 'at least 0.4'
