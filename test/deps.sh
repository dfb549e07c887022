#!/usr/bin/env bash
# Installs the Debian packages named on the command line that are missing, asking nothing. As root, or through sudo.
set -euo pipefail

missing=()
for package in "$@"; do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "deps: this is no Debian; install the equivalents of: ${missing[*]}" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "deps: ${missing[*]} are missing; run as root or install sudo" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "deps: installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Twice: a mirror that is being refreshed fails once in a while.
for attempt in 1 2; do
  if "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q >"$log" 2>&1 &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      "${missing[@]}" >>"$log" 2>&1; then
    exit 0
  fi
  [ "$attempt" = 1 ] && sleep 5
done
tail -n 20 "$log" >&2
echo "deps: apt-get could not install ${missing[*]}" >&2
exit 1
