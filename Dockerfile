# syntax=docker/dockerfile:1

# One image for nodes, sentinels and operators. It takes the official image's arguments:
# deploy/docker/docker-entrypoint.sh. Needs BuildKit, Docker's default builder.

FROM rust:1.95-slim-bookworm AS build
# jemalloc is compiled from C. Debian keeps only a package's newest version: none is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches stay outside the layer, so the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p slotward \
    && cp target/release/slotward /usr/local/bin/slotward

FROM debian:bookworm-slim
# Numbers as in the official Redis image: volumes made with it stay usable.
# hadolint ignore=DL3008
RUN groupadd -r -g 999 redis && useradd -r -g redis -u 999 redis \
    && apt-get update \
    && apt-get install -y --no-install-recommends redis-tools \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir /data && chown redis:redis /data
COPY --from=build /usr/local/bin/slotward /usr/local/bin/slotward
COPY deploy/docker/docker-entrypoint.sh deploy/docker/docker-healthcheck.sh /usr/local/bin/
# Called by these names the binary takes these programs' command lines.
RUN ln -s slotward /usr/local/bin/redis-server && ln -s slotward /usr/local/bin/redis-sentinel
VOLUME /data
WORKDIR /data
EXPOSE 6379
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["docker-healthcheck.sh"]
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["redis-server"]
