#!/usr/bin/env bash
# Runs the test programs named in "$1" (unit, ASan), "$2" (TSan), "$3" (fuzz replays) and "$4" (simulators: the first
# without sanitizers), then the hardening check and the integration tests, and closes with one line: N passed, N failed.
set -uo pipefail

passed=0
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$work/tap.log
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1

# tap NAME COMMAND...: counts its "ok" and "not ok" lines; a crash, a time-out or silence is a failure of its own.
tap() {
  local name=$1 status ok bad
  shift
  timeout 300 "$@" >"$log" 2>&1
  status=$?
  ok=$(grep -c '^ok ' "$log")
  bad=$(grep -c '^not ok ' "$log")
  if [ "$bad" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$ok" -eq 0 ]; }; then
    bad=1
    echo "not ok - $name: exit code $status after $ok tests" >>"$log"
  fi
  passed=$((passed + ok))
  failed=$((failed + bad))
  if [ "$bad" -gt 0 ]; then
    echo "== $name"
    cat "$log"
  else
    echo "   $name: $ok ok"
  fi
}

# integration NAME ARGUMENTS...: runs the instrumented binary, so that a leak or a bad access there fails a test too.
integration() {
  local name=$1
  shift
  FES_BINARY=${FES_BINARY:-build/asan/flux-event-store} FES_FAKE=build/test/fake-apiserver timeout 900 \
    /usr/bin/python3 -m pytest -q -rs -p no:cacheprovider --junitxml="$work/$name.xml" "$@" test/integration
}

# count_integration NAME STATUS: adds what the run counted; a run that ended badly without a count is one failure.
count_integration() {
  local counts errors failures skipped tests
  counts=$(sed -n 's/.*<testsuite [^>]*errors="\([0-9]*\)" failures="\([0-9]*\)" skipped="\([0-9]*\)" tests="\([0-9]*\)".*/\1 \2 \3 \4/p' "$work/$1.xml")
  read -r errors failures skipped tests <<<"${counts:-1 0 0 1}"
  passed=$((passed + tests - errors - failures - skipped))
  failed=$((failed + errors + failures))
  [ "$2" -eq 0 ] || [ $((errors + failures)) -gt 0 ] || failed=$((failed + 1))
}

# Those that wait for a minute or more do so beside all others.
integration slow -n 5 -m slow >"$work/slow.log" 2>&1 &
slow=$!

for program in $1; do tap "${program##*/}" "$program"; done
for program in $2; do tap "${program##*/} (TSan)" "$program"; done
for program in $3; do tap "${program##*/} (corpus)" "$program"; done
read -r simulator simulator_asan <<<"$4"
tap "simulator, 10000 seeds" "$simulator" 10000
tap "simulator, 300 seeds (ASan)" "$simulator_asan" 300
tap "differential, 20000 connections (ASan)" /usr/bin/python3 test/differential/compare.py build/asan/test/differential 20000
tap hardening test/hardening.sh build/flux-event-store
tap sanitizers test/sanitized.sh build/asan/flux-event-store
tap release test/release.sh
tap conformance test/conformance.sh

integration fast -n 4 -m "not slow"
count_integration fast $?
# Again with the binary as it is released: there the sandbox is whole, which sanitizers need to be open for reading.
FES_BINARY=build/flux-event-store integration released -n 4 -m "not slow" >"$work/released.log" 2>&1
status=$?
cat "$work/released.log"
count_integration released $status
wait "$slow"
status=$?
cat "$work/slow.log"
count_integration slow $status

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
