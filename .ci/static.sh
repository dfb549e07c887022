#!/usr/bin/env bash
# The static binary of the image, for amd64 or arm64, on Debian of either.
#
# usage: static.sh deps ARCH             installs compiler and libraries (as root)
#        static.sh build ARCH VERSION    makes build/ARCH/flux-event-store, stripped, and beside it its bill of materials
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

arch=$2
case $arch in
amd64) triplet=x86_64-linux-gnu ;;
arm64) triplet=aarch64-linux-gnu ;;
*)
  echo "static.sh: $arch is neither amd64 nor arm64" >&2
  exit 2
  ;;
esac

deps() {
  local compiler=gcc
  if [ "$arch" != "$(dpkg --print-architecture)" ]; then
    dpkg --add-architecture "$arch"
    compiler=gcc-${triplet//_/-}
  fi
  # A system as debootstrap leaves it does not know where Debian puts its mends, and a libevent without them is refused.
  if ! grep -rqs -e -security /etc/apt/sources.list /etc/apt/sources.list.d; then
    . /etc/os-release
    echo "deb http://deb.debian.org/debian-security $VERSION_CODENAME-security main" >/etc/apt/sources.list.d/security.list
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -y -q --no-install-recommends make pkg-config "$compiler" libc6-dev:"$arch" libevent-dev:"$arch" \
    libjansson-dev:"$arch" liblmdb-dev:"$arch" libssl-dev:"$arch"
}

build() {
  export ARCH=$arch CC=$triplet-gcc PKG_CONFIG=pkg-config
  export PKG_CONFIG_LIBDIR=/usr/lib/$triplet/pkgconfig:/usr/share/pkgconfig
  make -j"$(nproc)" static STATIC="build/$arch/unstripped" CC="$CC" AR="$triplet-ar" VERSION="$1"
  "$triplet-strip" -o "build/$arch/flux-event-store" "build/$arch/unstripped/flux-event-store"
  .ci/sbom.sh "build/$arch/flux-event-store" "$1" >"build/$arch/flux-event-store.spdx.json"
}

"$1" "${@:3}"
