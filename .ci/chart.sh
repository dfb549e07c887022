#!/usr/bin/env bash
# The chart of a release: its version, its appVersion (which is the image's tag) and the image's repository are set.
#
# usage: chart.sh VERSION REPOSITORY FOLDER     HELM: the program (default: helm)
# makes in FOLDER: flux-event-store-VERSION.tgz, install.yaml, and flux-event-store-kustomize-VERSION.tar.gz (a base for
# Kustomize)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=$1
repository=$2
mkdir -p "$3"
folder=$(cd "$3" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chart=$work/flux-event-store
cp -R chart "$chart"

# replace FILE BEFORE AFTER: whole lines; exactly one must be there, or the chart is not what this script knows.
replace() {
  [ "$(grep -cx "$2" "$1")" = 1 ] || {
    echo "chart.sh: $1 does not have one line $2" >&2
    exit 1
  }
  sed -i "s|^$2\$|$3|" "$1"
}
replace "$chart/Chart.yaml" 'version: .*' "version: $version"
replace "$chart/Chart.yaml" 'appVersion: .*' "appVersion: $version"
replace "$chart/values.yaml" '  repository: flux-event-store' "  repository: $repository"

"${HELM:-helm}" package "$chart" --destination "$folder"
HELM=${HELM:-helm} "$chart/manifests.sh" "$work/manifests"
mv "$work/manifests/install.yaml" "$folder/"
# The same bytes each time, as far as the objects are the same.
tar --sort=name --owner=0 --group=0 --numeric-owner --mode=a+rX,go-w --mtime="@${SOURCE_DATE_EPOCH:-0}" \
  -C "$work/manifests" -cf - kustomize | gzip -n >"$folder/flux-event-store-kustomize-$version.tar.gz"
