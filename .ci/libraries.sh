#!/usr/bin/env bash
# What the static binary is linked with, and whether that may be released.
#
# usage: libraries.sh list     one library in a line, separated by tabs: name, version, Debian's version or "-", Debian's
#                              source package, the package with the archive, licence (SPDX), vendor:product of its CPE
#        libraries.sh check    exit 1, with a line for each, where one has known holes or gets no more fixes
#
# ARCH (as Debian calls it; default: this machine's), PKG_CONFIG and CC say whose libraries are meant. A static binary gets
# no fix from the system's updates, so an old library is refused when it is linked.
set -euo pipefail

PKG_CONFIG=${PKG_CONFIG:-pkg-config}
CC=${CC:-cc}
today=${TODAY:-$(date -u +%F)}

# package_version PACKAGE: as dpkg knows it, or "-".
package_version() {
  local arch=${ARCH:-$(dpkg --print-architecture 2>/dev/null || true)} version
  version=$(dpkg-query -W -f='${Version}' "$1:$arch" 2>/dev/null) || true
  printf '%s' "${version:--}"
}

row() {
  local IFS=$'\t'
  printf '%s\n' "$*"
}

list() {
  local gcc libc
  gcc=$("$CC" -dumpfullversion -dumpversion)
  libc=$(package_version libc6-dev)
  row libevent "$("$PKG_CONFIG" --modversion libevent)" "$(package_version libevent-dev)" libevent libevent-dev \
    BSD-3-Clause libevent_project:libevent
  row openssl "$("$PKG_CONFIG" --modversion openssl)" "$(package_version libssl-dev)" openssl libssl-dev \
    Apache-2.0 openssl:openssl
  row jansson "$("$PKG_CONFIG" --modversion jansson)" "$(package_version libjansson-dev)" jansson libjansson-dev \
    MIT jansson_project:jansson
  row lmdb "$("$PKG_CONFIG" --modversion lmdb)" "$(package_version liblmdb-dev)" lmdb liblmdb-dev \
    OLDAP-2.8 symas:lightning_memory-mapped_database
  row glibc "$(cut -d- -f1 <<<"${libc/#-/$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)}")" "$libc" glibc libc6-dev \
    LGPL-2.1-or-later gnu:glibc
  row libgcc "$gcc" "$(package_version "libgcc-${gcc%%.*}-dev")" "gcc-${gcc%%.*}" "libgcc-${gcc%%.*}-dev" \
    "GPL-3.0-or-later WITH GCC-exception-3.1" gnu:gcc
}

# at_least VERSION BOUND
at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# libevent 2.1.13 (July 2026) closes the holes of evhttp, evbuffer and evdns that are CVE-2026-63379 to -63388; Debian 12 has
# the mends in 2.1.12-stable-8+deb12u1. The alphas of 2.2 are older than they are. LIBEVENT_MENDED vouches for another version.
check_libevent() {
  local version=$1 package=$2
  [[ $version == *-stable ]] && at_least "${version%-stable}" 2.1.13 && return
  [[ $package == 2.1.12-stable-8+deb12u* ]] && at_least "$package" 2.1.12-stable-8+deb12u1 && return
  [ -n "${LIBEVENT_MENDED:-}" ] && [[ " $version $package " == *" $LIBEVENT_MENDED "* ]] && return
  echo "libevent $version ($package) has known holes: 2.1.13, or Debian's 2.1.12-stable-8+deb12u1, is needed" >&2
  return 1
}

# Until when a line gets fixes: https://openssl-library.org/policies/releasestrat/. Debian goes on with the one it ships
# until the end of its own release (12: https://wiki.debian.org/LTS).
check_openssl() {
  local version=$1 package=$2 until
  case $version in
  0.* | 1.*) until=2023-09-11 ;;
  3.0.*) until=2026-09-07 ;;
  3.1.*) until=2025-03-14 ;;
  3.2.*) until=2025-11-23 ;;
  3.3.*) until=2026-04-09 ;;
  3.4.*) until=2026-10-22 ;;
  3.5.*) until=2030-04-08 ;;
  3.6.*) until=2026-11-01 ;;
  *) return 0 ;;
  esac
  case $package in
  3.0.*deb12u*) until=2028-06-30 ;;
  esac
  [[ ! $today > $until ]] && return
  echo "OpenSSL $version ($package) gets no fixes since $until" >&2
  return 1
}

check() {
  local failed=0 name version package rest
  # LMDB needs no row: what is broken in 0.9.25 to 0.9.31 concerns sorted duplicates and several processes; neither is used.
  while IFS=$'\t' read -r name version package rest; do
    case $name in
    libevent) check_libevent "$version" "$package" || failed=1 ;;
    openssl) check_openssl "$version" "$package" || failed=1 ;;
    esac
  done < <(list)
  return $failed
}

case ${1:-} in
list | check) "$1" ;;
*)
  echo "usage: $0 list | check" >&2
  exit 2
  ;;
esac
