#!/usr/bin/env bash
# What retention costs those who POST: three servers, two of them with the same RECORDS, loaded in turns by the same 64 senders, one of
# them at a time (the others are stopped meanwhile). Prints the median of ROUNDS of SECONDS_EACH, and what went, and the
# ratios with their bar. BENCH_DIR (default: build/) should be on a real disk.
#
#   none      nothing goes
#   size      --max-size is reached: as much goes as comes
#   age       --retention 1s: what came a second ago goes
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory build/libstore.a build/flux-event-store
make --no-print-directory -f test/Makefile build/test/fill_store
mkdir -p build/bench
read -r -a libs <<<"$(pkg-config --cflags --libs openssl)"
cc -std=c17 -O2 -g -D_GNU_SOURCE -o build/bench/load test/bench/load.c "${libs[@]}"
rounds=${ROUNDS:-7}
seconds=${SECONDS_EACH:-2}
senders=64
dir=$(mktemp -d "${BENCH_DIR:-build}/retain-bench-XXXXXX")
declare -A pid address flags
trap 'kill -CONT "${pid[@]}" 2>/dev/null || true; kill "${pid[@]}" 2>/dev/null || true; wait 2>/dev/null; rm -rf "$dir"' EXIT

build/test/fill_store "$dir/filled" "${RECORDS:-300000}" 1200
file_kib=$(($(stat -c %s "$dir/filled/data.mdb") / 1024))
flags[none]='--retention 0 --max-size 0'
flags[size]="--retention 0 --max-size $((file_kib * 115 / 100))KiB" # an eighth of it is not for records
flags[age]='--retention 1s --max-size 0'
kinds='none size age'
for kind in $kinds; do
  mkdir "$dir/$kind"
  # To begin with, what is older than a second would go: more than in all rounds.
  [ "$kind" = age ] || cp "$dir/filled/data.mdb" "$dir/$kind"
  # shellcheck disable=SC2086 # flags are words
  build/flux-event-store --no-kube --listen 127.0.0.1:0 --data-dir "$dir/$kind" --allow-network-fs ${flags[$kind]} 2>"$dir/$kind.log" &
  pid[$kind]=$!
done
rm -r "$dir/filled"
for kind in $kinds; do
  until grep -q '"started"' "$dir/$kind.log" && grep -q '"listening"' "$dir/$kind.log"; do kill -0 "${pid[$kind]}"; done
  address[$kind]=127.0.0.1:$(sed -n 's/.*127\.0\.0\.1:\([1-9][0-9]*\).*/\1/p' "$dir/$kind.log" | head -n 1)
  kill -STOP "${pid[$kind]}"
done

for ((round = 0; round < rounds; round++)); do
  for kind in $kinds; do
    kill -CONT "${pid[$kind]}"
    build/bench/load events "${address[$kind]}" "$senders" "$seconds" >>"$dir/row.$kind"
    kill -STOP "${pid[$kind]}"
  done
done

# median FILE COLUMN
median() {
  sort -g -k "$2,$2" "$1" | awk -v c="$2" '{v[NR] = $c} END {print v[int((NR + 1) / 2)]}'
}
for kind in $kinds; do
  kill -CONT "${pid[$kind]}"
  oldest=$(curl -fsS "http://${address[$kind]}/events?limit=1" | sed -n 's/.*"id":"\([0-9]*\)".*/\1/p')
  printf 'retain: %-7s POST at %d senders %7s/s  p50 %6s us  p99 %6s us; ratio of p50 %.2f, of p99 %.2f (bar 1.20); oldest id %s\n' \
    "$kind" "$senders" "$(median "$dir/row.$kind" 1)" "$(median "$dir/row.$kind" 2)" "$(median "$dir/row.$kind" 3)" \
    "$(awk -v a="$(median "$dir/row.$kind" 2)" -v b="$(median "$dir/row.none" 2)" 'BEGIN {print a / b}')" \
    "$(awk -v a="$(median "$dir/row.$kind" 3)" -v b="$(median "$dir/row.none" 3)" 'BEGIN {print a / b}')" "${oldest:--}"
  [ "$kind" = none ] || printf 'row\tPOST p99 while retention by %s deletes / without\t%.2f\ttimes\t<=\t1.2\t%s and %s us\n' "$kind" \
    "$(awk -v a="$(median "$dir/row.$kind" 3)" -v b="$(median "$dir/row.none" 3)" 'BEGIN {print a / b}')" \
    "$(median "$dir/row.$kind" 3)" "$(median "$dir/row.none" 3)"
done
