#!/usr/bin/env bash
# Prints the path of promtool. Where there is none it is taken out of Debian's package prometheus, once, into a cache
# outside the repository: installing that package would start a server.
#
# usage: test/promtool.sh
set -euo pipefail

if command -v promtool; then
  exit 0
fi
cache=${FES_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flux-event-store-e2e}
folder=$cache/promtool
mkdir -p "$cache"
exec 9>"$cache/.promtool.lock"
flock 9
if [ ! -x "$folder/promtool" ]; then
  scratch=$(mktemp -d "$cache/.promtool-XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  (
    cd "$scratch"
    # A machine that was just set up has no package lists.
    apt-get download -q prometheus >log 2>&1 ||
      { apt-get update -q >>log 2>&1 && apt-get download -q prometheus >>log 2>&1; } || {
      tail -n 20 log >&2
      echo "promtool: the Debian package prometheus cannot be downloaded" >&2
      exit 1
    }
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xf - ./usr/bin/promtool
  )
  mkdir -p "$folder"
  mv "$scratch/usr/bin/promtool" "$folder/promtool"
fi
printf '%s\n' "$folder/promtool"
