#!/usr/bin/env bash
# The image of a release: one description of the build, for the job that tests it and the job that publishes it.
#
# usage: VERSION=1.2.3 image.sh ARGUMENT OF docker buildx build...      REVISION, SOURCE: for the labels
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

docker buildx build --provenance=false \
  --build-arg "VERSION=${VERSION:?}" --build-arg "REVISION=${REVISION:?}" --build-arg "SOURCE=${SOURCE:?}" \
  --build-arg "SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)" "$@" .
