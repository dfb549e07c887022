#!/usr/bin/env bash
# release/libraries.sh with faked versions: which libraries may be linked into a release. And that the bill of materials of
# a binary names them all. TAP.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0
failed=0
cat >"$work/pkg-config" <<'FAKE'
#!/bin/sh
case $2 in
libevent) echo "$LIBEVENT" ;;
openssl) echo "$OPENSSL" ;;
*) echo 1.0 ;;
esac
FAKE
cat >"$work/dpkg-query" <<'FAKE'
#!/bin/sh
for last; do :; done
case $last in
libevent-dev:*) printf %s "$LIBEVENT_PACKAGE" ;;
libssl-dev:*) printf %s "$OPENSSL_PACKAGE" ;;
*) exit 1 ;;
esac
FAKE
chmod +x "$work"/*

tap() {
  count=$((count + 1))
  if [ "$1" = "$2" ]; then
    echo "ok $count - $3"
  else
    failed=1
    echo "not ok $count - $3: $2, want $1"
    sed 's/^/# /' "$work/said"
  fi
}

# refused|taken TODAY LIBEVENT ITS_PACKAGE OPENSSL ITS_PACKAGE: "" for a package that dpkg does not know.
check() {
  local seen=taken
  PATH=$work:$PATH ARCH=amd64 PKG_CONFIG=$work/pkg-config TODAY=$2 LIBEVENT=$3 LIBEVENT_PACKAGE=$4 OPENSSL=$5 \
    OPENSSL_PACKAGE=$6 release/libraries.sh check >"$work/said" 2>&1 || seen=refused
  tap "$1" "$seen" "on $2, libevent $3 (${4:--}), OpenSSL $5 (${6:--})"
}
good=2.1.12-stable-8+deb12u1
check taken 2026-08-01 2.1.12-stable $good 3.0.22 3.0.22-1~deb12u2
check taken 2026-08-01 2.1.12-stable 2.1.12-stable-8+deb12u2 3.0.22 3.0.22-1~deb12u2
check taken 2026-08-01 2.1.12-stable 2.1.12-stable-8+deb12u10 3.0.22 3.0.22-1~deb12u2
check refused 2026-08-01 2.1.12-stable 2.1.12-stable-8 3.0.22 3.0.22-1~deb12u2
check refused 2026-08-01 2.1.12-stable 2.1.12-stable-10 3.0.22 3.0.22-1~deb12u2
check refused 2026-08-01 2.1.12-stable "" 3.0.22 3.0.22-1~deb12u2
check refused 2026-08-01 2.1.9-beta "" 3.0.22 3.0.22-1~deb12u2
check taken 2026-08-01 2.1.13-stable "" 3.0.22 3.0.22-1~deb12u2
check taken 2026-08-01 2.2.1-stable "" 3.0.22 3.0.22-1~deb12u2
check refused 2026-08-01 2.2.1-alpha "" 3.0.22 3.0.22-1~deb12u2
LIBEVENT_MENDED=2.1.12-stable-10+deb13u1 check taken 2026-08-01 2.1.12-stable 2.1.12-stable-10+deb13u1 3.5.1 ""
LIBEVENT_MENDED=2.1.12-stable-10+deb13u1 check refused 2026-08-01 2.1.12-stable 2.1.12-stable-10 3.5.1 ""
check refused 2026-08-01 2.1.12-stable $good 1.1.1w 1.1.1w-0+deb11u1
check taken 2026-09-07 2.1.12-stable $good 3.0.22 ""
check refused 2026-09-08 2.1.12-stable $good 3.0.22 ""
check taken 2028-06-30 2.1.12-stable $good 3.0.22 3.0.22-1~deb12u2
check refused 2028-07-01 2.1.12-stable $good 3.0.22 3.0.22-1~deb12u2
check refused 2026-08-01 2.1.12-stable $good 3.3.1 ""
check taken 2026-12-01 2.1.12-stable $good 3.5.4 3.5.4-1
check taken 2026-12-01 2.1.12-stable $good 4.0.0 ""

# The bill of materials, of what this machine has. Its form as SPDX 2.3 is checked by test/e2e with the standard's own code.
echo binary >"$work/binary"
SOURCE_DATE_EPOCH=0 release/sbom.sh "$work/binary" 1.2.3 >"$work/sbom" 2>"$work/said"
# What the linker is given, -l by -l, has a row: libc's parts (dl, pthread) are glibc's.
linked=$(pkg-config --static --libs libevent libevent_pthreads libevent_openssl openssl jansson lmdb | tr ' ' '\n' |
  sed -n 's/^-l//p' | sed 's/^event.*/libevent/; s/^ssl$/openssl/; s/^crypto$/openssl/; s/^dl$/glibc/; s/^pthread$/glibc/')
named=$(/usr/bin/python3 -c '
import json, sys
document = json.load(open(sys.argv[1]))
for relation in document["relationships"]:
    if relation["relationshipType"] == "STATIC_LINK":
        package = next(p for p in document["packages"] if p["SPDXID"] == relation["relatedSpdxElement"])
        assert package["versionInfo"] and package["externalRefs"][0]["referenceLocator"].startswith("pkg:"), package
        print(package["name"])' "$work/sbom" 2>>"$work/said")
tap "" "$(comm -23 <(printf '%s\n%s\n%s\n' "$linked" glibc libgcc | sort -u) <(sort -u <<<"$named"))" \
  "the bill of materials names what is linked"
checksum=$(sha256sum "$work/binary" | cut -d' ' -f1)
tap 2 "$(grep -c "$checksum" "$work/sbom")" "it names the binary by its checksum"

echo "1..$count"
exit $failed
