#!/usr/bin/env bash
# Breaks the code on purpose, once per behaviour of docs/conformance.md (by number) and for some others (by name), and
# expects the named test to fail.
#
#   test/mutate.sh [ITEM...]      all, or those named, such as 7 or ping-401
#
# test/mutations/ITEM.patch begins with what it does in words and "test: PROGRAM TEST"; PROGRAM is one of test/unit, or
# pytest. Works in a copy, with neither sanitizers nor optimisation. A mutation whose test passes all the same, or that
# does not compile, is a failure.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$scratch"
cd "$scratch" || exit 1

build() { # PROGRAM: what its test needs, rebuilt
  make -s BUILD=build/mutant CFLAGS=-O0 all >build.log 2>&1 || return 1
  if [ "$1" = pytest ]; then
    make -s -f test/Makefile build/test/fake-apiserver >>build.log 2>&1
  else
    make -s -f test/Makefile A=build/mutant ASAN= "build/mutant/test/$1" >>build.log 2>&1
  fi
}

passes() { # PROGRAM TEST
  if [ "$1" = pytest ]; then
    FES_BINARY=build/mutant/flux-event-store FES_FAKE=build/test/fake-apiserver timeout 300 \
      /usr/bin/python3 -m pytest -q -p no:cacheprovider -p no:xdist -k "$2" test/integration >test.log 2>&1
  else
    timeout 60 "build/mutant/test/$1" >test.log 2>&1
    grep -q "^ok [0-9]* - $2$" test.log
  fi
}

passed=0
failed=0
say() { # ok|not ok, ITEM, SENTENCE
  echo "$1 - item $2: $3"
  if [ "$1" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

items=("$@")
[ ${#items[@]} -gt 0 ] || mapfile -t items < <(basename -s .patch test/mutations/*.patch)
for item in "${items[@]}"; do
  [[ $item == [1-9] ]] && item=0$item
  patch=test/mutations/$item.patch
  read -r _ program name < <(grep -m 1 '^test: ' "$patch")
  words=$(head -n 1 "$patch")
  if ! patch -s -p1 <"$patch" >/dev/null; then
    say "not ok" "$item" "the patch does not apply any more"
    continue
  fi
  if ! build "$program"; then
    say "not ok" "$item" "does not compile: $(grep -m 1 error build.log)"
  elif passes "$program" "$name"; then
    say "not ok" "$item" "$name does not notice: $words"
  else
    say ok "$item" "$name notices: $words"
  fi
  patch -s -R -p1 <"$patch"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
