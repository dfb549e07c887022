#!/usr/bin/env bash
# All benches, or those that are named (`test/bench/run.sh table stream`), and what they have measured as one table at the
# end: each figure beside its bar and its yardstick of the same run, the disk on top. It prints and gates nothing.
#
# A bench tells a figure in a line of tab-separated fields (row.h, bench_row.py):
#
#   row  WHAT  FIGURE  UNIT  <= or >= or -  BAR  YARDSTICK
set -euo pipefail
cd "$(dirname "$0")/../.."

benches=("$@")
[ $# -gt 0 ] || benches=(table store open month http retain stream slowloris wait scrape runs size)
said=$(mktemp)
trap 'rm -f "$said"' EXIT
failed=()
for bench in "${benches[@]}"; do
  echo "== $bench"
  { "test/bench/$bench.sh" || failed+=("$bench"); } > >(tee -a "$said" | grep -vP '^row\t')
  wait "$!"
done
echo "== what was measured, on $(nproc) processors of $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"
grep -P '^row\t' "$said" | awk -F '\t' -f test/bench/rows.awk
if [ ${#failed[@]} -gt 0 ]; then
  echo "these ended badly: ${failed[*]}" >&2
  exit 1
fi
