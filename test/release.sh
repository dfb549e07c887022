#!/usr/bin/env bash
# What is released: the same binary wherever it is built, small enough, with a bill of materials that names what is in
# it, and from libraries without known holes. TAP on stdout.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
check() {
  local what=$1
  shift
  n=$((n + 1))
  if "$@" >"$work/out" 2>&1; then
    echo "ok $n - $what"
  else
    sed 's/^/# /' "$work/out"
    echo "not ok $n - $what"
  fi
}

# The folders have names of different lengths, and the second one is built by one job.
build_in() {
  local folder=$work/$1
  mkdir -p "$folder"
  git ls-files -z main.c Makefile .ci store http k8s controller | xargs -0 cp --parents -t "$folder"
  make -C "$folder" --no-print-directory "-j$2" static >"$work/build.log" 2>&1 || { tail -n 20 "$work/build.log" && return 1; }
  strip -o "$work/$1.stripped" "$folder/build/static/flux-event-store"
}
check 'the static binary is built in one folder' build_in a 2
check 'and in another one' build_in another/folder/of-a-longer-name 1 2>/dev/null
check 'both are the same, byte by byte' cmp "$work/a/build/static/flux-event-store" \
  "$work/another/folder/of-a-longer-name/build/static/flux-event-store"
at_most_6_mib() {
  local bytes
  bytes=$(stat -c %s "$work/a.stripped")
  echo "$bytes bytes"
  [ "$bytes" -le $((6 << 20)) ]
}
check 'stripped, it has at most 6 MiB' at_most_6_mib

sbom() {
  SOURCE_DATE_EPOCH=0 .ci/sbom.sh "$work/a.stripped" 1.2.3 >"$work/sbom.json" &&
    /usr/bin/python3 - "$work/sbom.json" "$(sha256sum "$work/a.stripped" | cut -d' ' -f1)" <<'PYTHON'
import json
import re
import sys

document = json.load(open(sys.argv[1], encoding="utf-8"))
assert document["spdxVersion"] == "SPDX-2.3" and document["dataLicense"] == "CC0-1.0"
assert document["creationInfo"]["created"] == "1970-01-01T00:00:00Z"
packages = {package["name"]: package for package in document["packages"]}
assert set(packages) == {"flux-event-store", "libevent", "openssl", "jansson", "lmdb", "glibc", "libgcc"}, set(packages)
assert packages["flux-event-store"]["checksums"][0]["checksumValue"] == sys.argv[2]
ids = {package["SPDXID"] for package in packages.values()} | {document["SPDXID"]}
for package in packages.values():
    assert re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", package["SPDXID"])
    for field in "versionInfo", "downloadLocation", "licenseConcluded", "licenseDeclared", "copyrightText", "supplier":
        assert package[field], (package["name"], field)
    if package["name"] != "flux-event-store":
        purl, cpe = (reference["referenceLocator"] for reference in package["externalRefs"])
        assert re.fullmatch(r"pkg:(deb/\w+|generic)/[a-z0-9.-]+@[A-Za-z0-9.:%~_-]+(\?[a-z0-9=&.-]+)?", purl), purl
        assert cpe.count(":") == 12, cpe
linked = {relation["relatedSpdxElement"] for relation in document["relationships"]
          if relation["relationshipType"] == "STATIC_LINK"}
assert len(linked) == 6 and linked < ids, linked
PYTHON
}
check 'its bill of materials is SPDX 2.3 and names every library in it' sbom

# Other versions than those of this machine, from a pkg-config and a dpkg-query of our own.
mkdir "$work/bin"
cat >"$work/bin/pkg-config" <<'EOS'
#!/bin/sh
case $2 in libevent) echo "$LIBEVENT" ;; openssl) echo "$OPENSSL" ;; *) echo 1.0 ;; esac
EOS
cat >"$work/bin/dpkg-query" <<'EOS'
#!/bin/sh
case $3 in libevent-dev*) printf %s "$LIBEVENT_PACKAGE" ;; libssl-dev*) printf %s "$OPENSSL_PACKAGE" ;; *) printf 1.0 ;; esac
EOS
chmod +x "$work/bin"/*
with() {
  local expected=$1
  shift
  env PATH="$work/bin:$PATH" LIBEVENT=2.1.13-stable LIBEVENT_PACKAGE=- OPENSSL=3.5.0 OPENSSL_PACKAGE=- TODAY=2026-12-01 \
    "$@" .ci/libraries.sh check >"$work/said" 2>&1
  local status=$?
  cat "$work/said"
  case $expected in
    fine) [ $status -eq 0 ] ;;
    *) [ $status -eq 1 ] && grep -q "$expected" "$work/said" ;;
  esac
}
check 'the libraries of this machine may be released' .ci/libraries.sh check
check 'libevent 2.1.13 may be released' with fine LIBEVENT=2.1.13-stable
check 'libevent 2.1.12 may not' with 'libevent .* has known holes' LIBEVENT=2.1.12-stable
check "Debian's mended 2.1.12 may" with fine LIBEVENT=2.1.12-stable LIBEVENT_PACKAGE=2.1.12-stable-8+deb12u1
check "Debian's 2.1.12 before that may not" with 'libevent .* has known holes' LIBEVENT=2.1.12-stable \
  LIBEVENT_PACKAGE=2.1.12-stable-8
check 'an alpha of libevent 2.2 may not' with 'libevent .* has known holes' LIBEVENT=2.2.1-alpha
check "Debian's 2.1.12-stable-10 without a mend may not" with 'libevent .* has known holes' LIBEVENT=2.1.12-stable \
  LIBEVENT_PACKAGE=2.1.12-stable-10
check 'a version that somebody vouches for may' with fine LIBEVENT=2.1.12-stable LIBEVENT_PACKAGE=2.1.12-stable-10+deb13u1 \
  LIBEVENT_MENDED=2.1.12-stable-10+deb13u1
check 'and no other one then' with 'libevent .* has known holes' LIBEVENT=2.1.12-stable LIBEVENT_PACKAGE=2.1.12-stable-10 \
  LIBEVENT_MENDED=2.1.12-stable-10+deb13u1
check 'an OpenSSL that gets no fixes may not' with 'gets no fixes' OPENSSL=1.1.1w
check 'on its last day it still may' with fine OPENSSL=3.0.22 TODAY=2026-09-07
check 'and not on the day after' with 'gets no fixes' OPENSSL=3.0.22 TODAY=2026-09-08
check 'OpenSSL 3.0 of Debian 12 may' with fine OPENSSL=3.0.17 OPENSSL_PACKAGE=3.0.17-1~deb12u2

# BuildKit sets these for each --platform, unless the Dockerfile has a default: that one wins, and the image for arm64 has
# a binary for amd64 in it.
platforms_are_buildkits() {
  ! grep -nE '^ARG +(.* )?(TARGET|BUILD)(PLATFORM|OS|ARCH|VARIANT)=' Dockerfile && grep -qx 'ARG TARGETARCH' Dockerfile
}
check 'the Dockerfile leaves the platform to the builder' platforms_are_buildkits

# What makes the chart a release's, without helm, which test/e2e has.
chart() {
  mkdir -p "$work/chart"
  cat >"$work/bin/helm" <<'EOS'
#!/bin/sh
case $1 in package) cp "$2/Chart.yaml" "$2/values.yaml" "$4" ;; template) echo rendered ;; esac
EOS
  chmod +x "$work/bin/helm"
  HELM="$work/bin/helm" .ci/chart.sh 1.2.3-rc.1 registry.example.com/flux-event-store "$work/chart" || return 1
  diff <(grep -E '^(version|appVersion):' "$work/chart/Chart.yaml") - <<'EOS' || return 1
version: 1.2.3-rc.1
appVersion: 1.2.3-rc.1
EOS
  diff chart/values.yaml "$work/chart/values.yaml" >"$work/changes"
  diff - <(grep '^[<>]' "$work/changes") <<'EOS' && grep -qx rendered "$work/chart/install.yaml"
<   repository: flux-event-store
>   repository: registry.example.com/flux-event-store
EOS
}
check "a release's chart has its version and its image" chart

kustomize_base() {
  local archive=flux-event-store-kustomize-1.2.3-rc.1.tar.gz
  mkdir -p "$work/again" "$work/base"
  sleep 1 # a time in the archive would be another one
  HELM="$work/bin/helm" .ci/chart.sh 1.2.3-rc.1 registry.example.com/flux-event-store "$work/again" &&
    cmp "$work/chart/$archive" "$work/again/$archive" && tar -xzf "$work/chart/$archive" -C "$work/base" &&
    (cd "$work/base" && find . -type f | sort) >"$work/files" && diff "$work/files" - <<'EOS' &&
./kustomize/kustomization.yaml
./kustomize/namespace.yaml
./kustomize/objects.yaml
EOS
    grep -qx rendered "$work/base/kustomize/objects.yaml"
}
check 'and a base for Kustomize, the same bytes each time' kustomize_base

# A file on the release's page that nobody attested could be replaced unseen.
attested() {
  local file
  for file in install.yaml 'flux-event-store-*.tgz' 'flux-event-store-kustomize-*.tar.gz'; do
    # Once among the subjects of the attestation, once among the files that are handed on.
    [ "$(grep -cxF "            build/release/$file" .github/workflows/release.yml)" = 2 ] || { echo "$file" && return 1; }
  done
}
check 'all that the chart job releases is attested' attested

installed() {
  make --no-print-directory install DESTDIR="$work/root" PREFIX=/usr >"$work/install.log" 2>&1 || { tail "$work/install.log" && return 1; }
  "$work/root/usr/bin/flux-event-store" --version && cmp docs/flux-event-store.8 "$work/root/usr/share/man/man8/flux-event-store.8"
}
check '"make install" installs binary and manual' installed
echo "1..$n"
