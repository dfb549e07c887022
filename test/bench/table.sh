#!/usr/bin/env bash
# Durable POSTs beside what they are made of and what they are compared with, all in one run, in turns: fdatasync and
# bare LMDB on the same disk, bare evhttp that stores nothing, and etcd's JSON gateway, driven by the same senders with
# the same events, signed for both HTTP servers (bare evhttp does not look). Prints the median of ROUNDS, and ratios of
# medians with their bars.
# The binary is the one of a release, linked statically. BENCH_DIR (default: build/) should be on a real disk.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory build/libhttp.a build/libstore.a
make --no-print-directory static 2>/dev/null
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
build/static/flux-event-store --no-kube --listen 127.0.0.1:0 --data-dir "$dir/data" --hmac-key-file "$dir/key" \
  --allow-network-fs --log-level info 2>"$dir/log" &
pid=$!
pids+=("$pid")
build/bench/http_bench bare >"$dir/bare" &
pids+=("$!")
port() {
  /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
etcd=127.0.0.1:$(port)
peer=http://127.0.0.1:$(port)
"$(test/debian.sh etcd-server usr/bin/etcd)" --data-dir "$dir/etcd" --listen-client-urls "http://$etcd" \
  --advertise-client-urls "http://$etcd" --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
  --initial-cluster "default=$peer" --log-level error >"$dir/etcd.log" 2>&1 &
etcd_pid=$!
pids+=("$etcd_pid")
for ((i = 0; i < 100; i++)); do
  curl -fsS "http://$etcd/health" >/dev/null 2>&1 && break
  kill -0 "$etcd_pid"
  sleep 0.1
done
until [ -s "$dir/bare" ] && grep -q '"listening"\|started' "$dir/log"; do kill -0 "$pid"; done
fes=127.0.0.1:$(sed -n 's/.*127\.0\.0\.1:\([1-9][0-9]*\).*/\1/p' "$dir/log" | head -n 1)
bare=$(cat "$dir/bare")
resident() {
  awk '/^VmRSS/ {printf "%.1f", $2 / 1024}' "/proc/$1/status"
}
# row WHAT FIGURE UNIT OP BAR YARDSTICK, for run.sh
row() {
  printf 'row\t%s\t%s\t%s\t%s\t%s\t%s\n' "$@"
}
idle=$(resident "$pid")
idle_etcd=$(resident "$etcd_pid")

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
  build/bench/load puts "$etcd" 1 "$seconds" >>"$dir/row.etcd-1"
  for n in 64 256; do
    disk lmdb $((n / 2)) >>"$dir/row.lmdb-$n"
    build/bench/load events "$bare" "$n" "$seconds" "$dir/key" >>"$dir/row.bare-$n"
    build/bench/load puts "$etcd" "$n" "$seconds" >>"$dir/row.etcd-$n"
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
figures() {
  printf '%-44s %9s/s  p50 %7s us  p99 %7s us\n' "$1" "$(median "$dir/row.$2" 1)" "$(median "$dir/row.$2" 2)" \
    "$(median "$dir/row.$2" 3)"
}
# ratio FILE FILE COLUMN: of medians
ratio() {
  awk -v a="$(median "$dir/row.$1" "$3")" -v b="$(median "$dir/row.$2" "$3")" 'BEGIN {printf "%.2f", a / b}'
}
figures 'fdatasync after 1 KiB' fdatasync
figures 'bare LMDB, one put' lmdb-1
figures 'POST, 1 sender' fes-1
figures 'etcd put, 1 sender' etcd-1
for n in 64 256; do
  figures "bare LMDB, batches of $((n / 2))" "lmdb-$n"
  figures "bare evhttp, $n senders, nothing stored" "bare-$n"
  figures "etcd put, $n senders" "etcd-$n"
  figures "POST, $n senders" "fes-$n"
  echo "  processor time of the loop per POST: $(median "$dir/cpu.$n" 1) us"
done
us() {
  median "$dir/row.$1" 2
}
rate() {
  median "$dir/row.$1" 1
}
row 'fdatasync after 1 KiB, p50 (the disk)' "$(us fdatasync)" us - 0 "p99 $(median "$dir/row.fdatasync" 3) us"
row 'durable POST, 1 sender' "$(rate fes-1)" /s - 0 "bare LMDB $(rate lmdb-1), etcd $(rate etcd-1)"
row 'durable POST, 64 senders' "$(rate fes-64)" /s - 0 "bare LMDB in batches $(rate lmdb-64), bare evhttp $(rate bare-64), etcd $(rate etcd-64)"
row 'durable POST, 256 senders' "$(rate fes-256)" /s - 0 "bare LMDB in batches $(rate lmdb-256), bare evhttp $(rate bare-256), etcd $(rate etcd-256)"
row 'POST / etcd put, 64 senders' "$(ratio fes-64 etcd-64 1)" times '>=' 3 "at 256: $(ratio fes-256 etcd-256 1)"
row 'POST / bare evhttp that stores nothing, 256 senders' "$(ratio fes-256 bare-256 1)" times '>=' 0.4 "at 64: $(ratio fes-64 bare-64 1)"
row 'acknowledgement / bare LMDB commit, 1 sender, p50' "$(ratio fes-1 lmdb-1 2)" times '<=' 1.8 "$(us fes-1) and $(us lmdb-1) us"
row 'processor time of the loop per POST, 64 senders' "$(median "$dir/cpu.64" 1)" us - 0 "at 256: $(median "$dir/cpu.256" 1) us"
row 'resident when idle, without Kubernetes' "$idle" MiB '<=' 10 "etcd $idle_etcd MiB"
