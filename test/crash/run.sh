#!/usr/bin/env bash
# Nothing acknowledged is lost: kill -9, power loss, failing calls. ROUNDS kills (30), IMAGES disks (5000), up to POINTS
# calls (80) that fail for each kind and error, and a month of DAYS days (8) of what Flux repeats. Prints TAP lines and, last, N passed, N failed.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

at=build/test/crash
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0
start=$SECONDS

# tap NAME COMMAND...: counts its "ok" and "not ok" lines; a crash, a time-out or silence is a failure of its own.
tap() {
  local name=$1 status ok bad
  shift
  timeout "${LIMIT:-1200}" "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  ok=$(grep -c '^ok ' "$log")
  bad=$(grep -c '^not ok ' "$log")
  if [ "$bad" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$ok" -eq 0 ]; }; then
    bad=1
    echo "not ok - $name: exit code $status after $ok tests"
  fi
  passed=$((passed + ok))
  failed=$((failed + bad))
}

tap kill9 $at/kill9 build/flux-event-store "${ROUNDS:-30}"
tap retain9 $at/retain9 build/flux-event-store "${ROUNDS:-30}"
tap month $at/month "${DAYS:-8}"
tap powerloss $at/powerloss build/flux-event-store $at/record_io.so $at/early_ack "${IMAGES:-5000}"
tap sweep $at/sweep build/flux-event-store build/asan/flux-event-store $at/fail_nth.so "${POINTS:-80}"
tap sweep_runs /usr/bin/python3 test/crash/sweep_runs.py build/asan/flux-event-store build/flux-event-store \
  $at/fail_nth.so build/test/fake-apiserver "${POINTS:-80}"

echo "# crash: $((SECONDS - start)) s"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
