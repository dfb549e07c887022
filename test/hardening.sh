#!/usr/bin/env bash
# hardening.sh BINARY: was BINARY really linked and compiled as the Makefile's flags ask? TAP on stdout, exit
# 1 when something lacks, 2 when BINARY cannot be read.
#
# Flags prove nothing: a distribution's defaults, a static archive or a probe that failed quietly can undo
# them. So this looks at the finished file, with readelf alone. What cannot be seen in a static binary (libc's
# own checked functions are in the same file as the calls) is not in its plan, rather than passed without a
# look.
set -u
export LC_ALL=C

if [ $# -ne 1 ]; then
  echo "usage: $0 BINARY" >&2
  exit 2
fi
binary=$1
if ! header=$(readelf -hW "$binary" 2>&1) || [ "${header#*ELF Header}" = "$header" ]; then
  echo "$0: $binary is not a readable ELF file" >&2
  exit 2
fi
segments=$(readelf -lW "$binary")
dynamic=$(readelf -dW "$binary")
symbols=$(readelf -sW --dyn-syms "$binary")
notes=$(readelf -nW "$binary")

count=0
failed=0

# check NAME COMMAND...: one TAP line; what the command prints goes behind a failure.
check() {
  local name=$1 seen
  shift
  count=$((count + 1))
  if seen=$("$@"); then
    echo "ok $count - $name"
  else
    failed=$((failed + 1))
    echo "not ok $count - $name"
    printf '%s\n' "$seen" | sed -n 's/^/#   /; 1,5p'
  fi
}

# has TEXT PATTERN, lacks TEXT PATTERN: a failure shows what was there.
has() {
  grep -Eq -- "$2" <<<"$1" || { echo "no match for: $2"; return 1; }
}
lacks() {
  ! grep -E -- "$2" <<<"$1"
}

is_pie() {
  has "$header" '^ *Type: +DYN' && has "$dynamic" '\(FLAGS_1\).*PIE'
}

bind_now() {
  has "$segments" '^ *GNU_RELRO ' && has "$dynamic" 'BIND_NOW|\(FLAGS_1\).*NOW'
}

stack_not_executable() {
  has "$segments" '^ *GNU_STACK .* RW ' && lacks "$segments" '^ *GNU_STACK .* RWE '
}

# The bytes of .text as one hexadecimal string, and its address first.
text_bytes() {
  readelf -x .text "$binary" | awk '$1 ~ /^0x/ {
    if (address == "") { address = $1; print address }
    line = substr($0, index($0, $1) + length($1) + 1, 35)
    gsub(/ /, "", line)
    printf "%s", line
  }'
}

# The linker writes the IBT and SHSTK note only when every input has it, and the C library of many systems
# (Debian 12 among them) does not. Then main itself must begin with endbr64: our own code was compiled for it.
control_flow_protection() {
  local main_address start bytes offset
  has "$notes" 'x86 feature:.*IBT.*SHSTK' >/dev/null && return 0
  main_address=$(awk '$4 == "FUNC" && $8 == "main" { print $2; exit }' <<<"$symbols")
  if [ -z "$main_address" ]; then
    echo "neither a note nor a symbol table to find main with"
    return 1
  fi
  { read -r start; read -r bytes; } < <(text_bytes; echo)
  offset=$(((16#$main_address - start) * 2))
  [ "${bytes:offset:8}" = f30f1efa ] || { echo "main begins with ${bytes:offset:8}"; return 1; }
}

check "position-independent executable" is_pie
check "full RELRO: GNU_RELRO and BIND_NOW" bind_now
check "stack is not executable" stack_not_executable
check "no segment is writable and executable" lacks "$segments" '^ *LOAD .* RWE '
check "no text relocation" lacks "$dynamic" 'TEXTREL'
check "no RPATH or RUNPATH" lacks "$dynamic" 'RPATH|RUNPATH'
if grep -q 'INTERP' <<<"$segments"; then
  check "stack protector is called" has "$symbols" ' UND __stack_chk_fail'
  check "FORTIFY: checked libc functions are called" has "$symbols" ' UND __[a-z0-9_]+_chk(@| |$)'
fi
if grep -Eq 'Machine:.*X86-64' <<<"$header"; then
  check "control-flow protection" control_flow_protection
fi

echo "1..$count"
[ "$failed" -eq 0 ]
