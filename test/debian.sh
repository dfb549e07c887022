#!/usr/bin/env bash
# Prints the path of a program of a Debian package. Where the machine does not have it, it is taken out of the package,
# once, into a cache outside the repository: to install prometheus or etcd-server would start a server.
#
# usage: test/debian.sh PACKAGE PATH      (test/debian.sh prometheus usr/bin/promtool)
set -euo pipefail

package=$1
path=$2
program=${path##*/}
if command -v "$program"; then
  exit 0
fi
cache=${FES_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flux-event-store-e2e}
folder=$cache/$program
mkdir -p "$cache"
exec 9>"$cache/.$program.lock"
flock 9
if [ ! -x "$folder/$program" ]; then
  scratch=$(mktemp -d "$cache/.$program-XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  (
    cd "$scratch"
    # A machine that was just set up has no package lists.
    apt-get download -q "$package" >log 2>&1 ||
      { apt-get update -q >>log 2>&1 && apt-get download -q "$package" >>log 2>&1; } || {
      tail -n 20 log >&2
      echo "$program: the Debian package $package cannot be downloaded" >&2
      exit 1
    }
    dpkg-deb --fsys-tarfile "${package}"_*.deb | tar -xf - "./$path"
  )
  mkdir -p "$folder"
  mv "$scratch/$path" "$folder/$program"
fi
printf '%s\n' "$folder/$program"
