#!/usr/bin/env bash
# Format, forbidden functions, sizes, left-over marks, static analysis, shell scripts, the manual, workflows.
set -uo pipefail

failed=0
fail() {
  printf 'lint: %s\n' "$1" >&2
  failed=1
}
mapfile -t product < <(git ls-files 'main.c' 'store/*.[ch]' 'http/*.[ch]' 'k8s/*.[ch]' 'controller/*.[ch]')
mapfile -t c_files < <(git ls-files '*.c' '*.h')
mapfile -t scripts < <(git ls-files '*.sh' '.ci/run' 'test/e2e/run')

clang-format --dry-run --Werror "${c_files[@]}" || fail "clang-format: run clang-format -i on the files above"

hits=$(grep -nE '\b(sprintf|vsprintf|strcpy|strcat|strncpy|strncat|strtok|atoi|atol|alloca|gets|mktime)[ ]*\(' \
  "${c_files[@]}") && fail "forbidden functions"$'\n'"$hits"
hits=$(git grep -nE '\b(TODO|FIXME|XXX|HACK)\b' -- '*.c' '*.h' '*.sh' '*.go' '*.py' Makefile test/Makefile ':!test/lint.sh') &&
  fail "left-over marks"$'\n'"$hits"
hits=$(grep -nE '\b(time|gettimeofday|clock_gettime)[ ]*\(' store/*.c controller/*.c |
  grep -v '^store/commit\.c:' | grep -v '^store/lock\.c:') &&
  fail "store/ and controller/ take time as an argument"$'\n'"$hits"

# Sizes: a file is discussed at 600 lines; main.c may have 800, a public header 150, the Makefile 200.
for file in "${product[@]}"; do
  lines=$(wc -l <"$file")
  case $file in
    main.c) most=800 ;;
    *) most=600 ;;
  esac
  [ "$lines" -le "$most" ] || fail "$file has $lines lines, at most $most"
done
[ "$(wc -l <Makefile)" -le 200 ] || fail "Makefile has more than 200 lines"

# The lists' macros: without them cppcheck reads a loop as a call.
queue=$(cc -E -x c -include sys/queue.h /dev/null | sed -n 's/^# 1 "\(.*queue\.h\)".*/\1/p' | head -n 1)
cppcheck --include="$queue" --quiet --error-exitcode=1 --std=c11 --enable=warning,portability,performance --inline-suppr \
  --suppress=missingIncludeSystem --suppress=invalidPrintfArgType_sint -I. \
  "${product[@]/%.h/.h}" || fail "cppcheck"
shellcheck -x "${scripts[@]}" || fail "shellcheck"
mandoc -T lint -W warning docs/flux-event-store.8 || fail "mandoc"

# Workflows; the scripts in them go through shellcheck, too. Where Go is needed anyway (e2e, CI), it is there.
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
if command -v go >/dev/null; then
  go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 || fail "actionlint"
  # A tag can be moved to another commit.
  hits=$(grep -nE '^ *(- )?uses: ' .github/workflows/*.yml | grep -vE 'uses: (\./|[^@]+@[0-9a-f]{40} # v)') &&
    fail "actions that are not pinned by commit"$'\n'"$hits"
else
  echo "lint: workflows are left out: actionlint needs Go"
fi

[ $failed -eq 0 ] && echo "lint: ok"
exit $failed
