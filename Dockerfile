# docker build -t flux-event-store:0.1.0 .
# docker run --rm -p 8080:8080 -v events:/data flux-event-store:0.1.0 --no-kube
#
# Cross-built, never emulated: the first stage runs on the machine that builds, and the last only copies.
FROM --platform=${BUILDPLATFORM:-linux/amd64} debian:bookworm-slim AS build
# BuildKit fills it in, but only without a default here: a default of ours would win, for every --platform. The older
# builder leaves it empty.
ARG TARGETARCH
WORKDIR /src
COPY .ci/static.sh .ci/
RUN .ci/static.sh deps "${TARGETARCH:-$(dpkg --print-architecture)}"
COPY . .
ARG VERSION=0.1.0
# The time in the bill of materials; the binary has none in it.
ARG SOURCE_DATE_EPOCH=0
# scratch has no mkdir and no chown: the data directory is made here, for the user of the last stage.
RUN arch=${TARGETARCH:-$(dpkg --print-architecture)} \
    && .ci/static.sh build "$arch" "$VERSION" \
    && mkdir -p image/data \
    && mv "build/$arch/flux-event-store" "build/$arch/flux-event-store.spdx.json" image/

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=https://github.com/flux-event-store/flux-event-store
LABEL org.opencontainers.image.title="flux-event-store" \
      org.opencontainers.image.description="Keeps what Flux says, durably, and finishes the Tekton Runs that wait for a revision" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
COPY --from=build /src/image/flux-event-store /flux-event-store
# What is in the binary, where scanners look for it: an image made from scratch has no package database.
COPY --from=build /src/image/flux-event-store.spdx.json /usr/share/sbom/flux-event-store.spdx.json
COPY --from=build --chown=65532:65532 /src/image/data /data
# The binary's default data directory is the relative path data: /data here.
WORKDIR /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/flux-event-store"]
