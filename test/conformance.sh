#!/usr/bin/env bash
# docs/conformance.md against the tree, as TAP: a row per behaviour, each with a test that exists and carries its number,
# a mutation that names one of them; and every test that carries a number is in the rows of its numbers.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

table=docs/conformance.md
items=70
n=0
bad=0
check() { # SENTENCE PROBLEMS
  n=$((n + 1))
  if [ -z "$2" ]; then
    echo "ok $n - $1"
  else
    bad=1
    printf '%s\n' "$2" | sed 's/^/# /'
    echo "not ok $n - $1"
  fi
}
row() { grep "^| $1 | " "$table"; }
# The items of item_21_22_24_name or test_item_26_name.
numbers() { sed -E 's/^(test_)?item((_[0-9]+)+)_.*/\2/; s/_/ /g' <<<"$1"; }

mapfile -t tests < <({
  grep -hoE 'TEST\(item_[0-9a-z_]+\)' test/unit/*.c | sed -E 's/TEST\((.*)\)/\1/'
  grep -hoE '^def test_item_[0-9a-z_]+' test/integration/*.py | sed 's/^def //'
} | sort -u)
known=$(printf '%s\n' "${tests[@]}")

problems=$(for ((i = 1; i <= items; i++)); do [ "$(row "$i" | wc -l)" -eq 1 ] || echo "item $i has not one row"; done)
[ "$(grep -cE '^\| [0-9]+ \|' "$table")" -eq "$items" ] || problems+=$'\n'"there are other rows"
check "the table has a row for each of $items behaviours" "$problems"

problems=$(for ((i = 1; i <= items; i++)); do
  IFS='|' read -r _ _ behaviour _ cell mutation _ < <(row "$i")
  [[ $behaviour == *[a-z]* && $mutation == *[a-z]* ]] || echo "item $i: a cell is empty"
  found=0
  for name in $(tr -cs 'a-z0-9_' '\n' <<<"$cell" | grep -E '^(test_)?item_'); do
    grep -qx "$name" <<<"$known" || echo "item $i: there is no test $name"
    [[ " $(numbers "$name") " == *" $i "* ]] && found=1
  done
  [ $found -eq 1 ] || echo "item $i: no test carries its number"
done)
check "every row names tests that exist and carry its number" "$problems"

problems=$(for name in "${tests[@]}"; do
  for i in $(numbers "$name"); do
    row "$i" | grep -qF "\`$name\`" || echo "$name is not in the row of item $i"
  done
done)
check "every numbered test is in the rows of its numbers" "$problems"

problems=$(for ((i = 1; i <= items; i++)); do
  patch=$(printf 'test/mutations/%02d.patch' "$i")
  name=$(sed -n 's/^test: [a-z0-9_]* //p' "$patch" 2>/dev/null)
  row "$i" | grep -qF "\`${name:-none}\`" || echo "item $i: $patch names no test of the row"
  row "$i" | grep -qF "| $(head -n 1 "$patch") |" || echo "item $i: $patch says another mutation than the row"
  patch -s -p1 --dry-run <"$patch" >/dev/null || echo "item $i: $patch does not apply any more"
done)
check "every row's mutation is there, and applies" "$problems"

echo "1..$n"
exit $bad
