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

for patch in test/mutations/*.patch; do
  git apply --check "$patch" 2>/dev/null || fail "$patch does not apply any more: mend it (make mutate)"
done

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

# Workflows, and the one of the examples; the scripts in them go through shellcheck, too. Where Go is needed anyway (e2e, CI),
# it is there.
mapfile -t workflows < <(git ls-files '.github/workflows/*.yml' docs/examples/github-actions.yml)
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
if command -v go >/dev/null; then
  go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 "${workflows[@]}" || fail "actionlint"
elif [ -n "${CI:-}" ]; then
  fail "actionlint needs Go"
else
  echo "lint: workflows are left out: actionlint needs Go"
fi
# A tag can be moved to another commit.
hits=$(grep -nE '^ *(- )?uses: ' "${workflows[@]}" | grep -vE 'uses: (\./|[^@]+@[0-9a-f]{40} # v)') &&
  fail "actions that are not pinned by commit"$'\n'"$hits"
# What is in ${{ }} becomes part of a script before the shell reads it: whoever names a branch or a tag would write it.
hits=$(test/workflow_scripts.py "${workflows[@]}") || fail "expressions in scripts, or rights for all jobs"$'\n'"$hits"

[ $failed -eq 0 ] && echo "lint: ok"
exit $failed
