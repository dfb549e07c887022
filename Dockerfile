# docker build -t flux-event-store:0.1.0 .
# docker run --rm -p 8080:8080 -v events:/data flux-event-store:0.1.0 --no-kube
FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        gcc libc6-dev libevent-dev libjansson-dev liblmdb-dev libssl-dev make pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# scratch has no mkdir and no chown: the data directory is made here, for the user of the last stage.
RUN make static \
    && mkdir -p /image/data \
    && strip -o /image/flux-event-store build/static/flux-event-store

FROM scratch
COPY --from=build /image/flux-event-store /flux-event-store
COPY --from=build --chown=65532:65532 /image/data /data
# The binary's default data directory is the relative path data: /data here.
WORKDIR /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/flux-event-store"]
