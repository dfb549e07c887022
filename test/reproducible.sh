#!/usr/bin/env bash
# The same source gives the same binary: built here and, from a copy, in another folder, at another time of another zone,
# under another umask and language, by other numbers of jobs. TAP.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
copy=$work/in/some/other/place
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard -- main.c store http k8s controller Makefile release |
  xargs -0 cp --parents -t "$copy"

build() {
  make --no-print-directory "$@" BUILD=build/reproducible STATIC=build/reproducible-static all static
}
{
  rm -rf build/reproducible build/reproducible-static
  build -j2
  (cd "$copy" && umask 077 && TZ=Asia/Kathmandu LC_ALL=C.UTF-8 build -j1)
} >"$work/log" 2>&1

failed=0
count=0
for binary in build/reproducible/flux-event-store build/reproducible-static/flux-event-store; do
  count=$((count + 1))
  if cmp "$binary" "$copy/$binary" >>"$work/log" 2>&1; then
    echo "ok $count - $binary is the same from both folders: $(sha256sum "$binary" | cut -c-16)"
  else
    failed=1
    echo "not ok $count - $binary differs"
    tail -n 5 "$work/log" | sed 's/^/# /'
  fi
done
rm -rf build/reproducible build/reproducible-static
echo "1..$count"
exit $failed
