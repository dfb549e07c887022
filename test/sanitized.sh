#!/usr/bin/env bash
# sanitized.sh BINARY: does the instrumented BINARY look for what the tests rely on it to find? TAP on stdout.
#
# One flag can take away what another one asks for without a word: -fwrapv, of which -fno-strict-overflow is made, takes
# the check for signed overflow.
set -u
export LC_ALL=C

if ! symbols=$(readelf -sW --dyn-syms "${1:?usage: sanitized.sh BINARY}"); then
  exit 2
fi
count=0
failed=0
for look in __asan_report_load8 __ubsan_handle_{add,sub,mul,negate}_overflow_abort __ubsan_handle_shift_out_of_bounds_abort; do
  count=$((count + 1))
  if grep -q " UND $look\\b" <<<"$symbols"; then
    echo "ok $count - $look"
  else
    failed=$((failed + 1))
    echo "not ok $count - $look is not called from anywhere"
  fi
done
echo "1..$count"
[ "$failed" -eq 0 ]
