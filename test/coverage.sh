#!/usr/bin/env bash
# Runs the programs "$2"... of the build folder "$1", compiled with --coverage, and prints for each file of the core, each
# folder and all of it: lines run and branches taken at least once. gcov counts both sides of every condition, those that
# only a failing malloc takes included. "$1"/report/ has the sources with a count beside each line and branch.
set -euo pipefail

build=$1
shift
failed=0
find "$build" -name '*.gcda' -delete
for program in "$@"; do
  case $program in
    */sim) arguments=300 ;;
    *) arguments= ;;
  esac
  # shellcheck disable=SC2086
  if ! timeout 600 "$program" $arguments >"$build/coverage.log" 2>&1; then
    echo "failed: $program" >&2
    grep '^#\|^not ok' "$build/coverage.log" >&2 || true
    failed=1
  fi
done

# One line for each condition's side follows its source line: "branch  0 taken 12" or "branch  1 never executed".
rm -rf "$build/report"
for object in "$build"/obj/{store,http,k8s,controller}/*.o; do
  report=$build/report/${object#"$build"/obj/}
  mkdir -p "${report%/*}"
  gcov -b -c -t "$object" 2>/dev/null >"${report%.o}.c.gcov"
done

find "$build/report" -name '*.gcov' -exec cat {} + | awk '
  function add(count, by) { count["all"] += by; count[folder] += by; count[file] += by }
  / 0:Source:/ { file = $0; sub(/.*Source:/, "", file); counts = file ~ /^(store|http|k8s|controller)\/[^.]*\.c$/
                 folder = substr(file, 1, index(file, "/")); next }
  !counts { next }
  /^branch/ { add(branches, 1); if (!/never executed|taken 0/) add(taken, 1); next }
  /^ *[0-9]+\*?: *[1-9]/ { add(lines, 1); add(run, 1); next }
  /^ *[#=]+: *[1-9]/ { add(lines, 1) }
  END {
    for (name in lines)
      printf "%-28s %5d of %5d lines %5.1f %%   %5d of %5d branches %5.1f %%\n", name, run[name], lines[name],
        100 * run[name] / lines[name], taken[name], branches[name],
        branches[name] ? 100 * taken[name] / branches[name] : 100
  }' | LC_ALL=C sort
exit $failed
