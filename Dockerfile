# clearday in an image that holds the binary, the C library and nothing to run a shell with.
#
#   docker build -t clearday .
#   docker run --rm -v clearday:/var/lib/clearday clearday migrate
#   docker run -v clearday:/var/lib/clearday --stop-timeout 60 clearday
#
# Settings: mount a file over /etc/clearday/clearday.toml, or set CLEARDAY_<SECTION>__<KEY>. As long as no [[people]]
# are named the daemon answers inside of the container only; see config/production.toml for letting others in.

ARG RUST_VERSION=1.95.0
FROM docker.io/library/rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /build
COPY . .
# What cargo fetched and compiled is kept from build to build; the binary leaves that cache before the step ends.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin clearday \
    && install -D --strip target/release/clearday /image/usr/local/bin/clearday \
    && install -D --mode=0644 packaging/container.toml /image/etc/clearday/clearday.toml \
    && install --directory /data/statements

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image /
# 65532 is `nonroot` of the base image; by number, so that an orchestrator can see that it is not root.
COPY --from=build --chown=65532:65532 /data /var/lib/clearday
USER 65532:65532
WORKDIR /var/lib/clearday
VOLUME /var/lib/clearday
EXPOSE 8080
# Longer than `jobs.shutdown_seconds` takes at most: docker run --stop-timeout 60.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/clearday", "--config", "/etc/clearday/clearday.toml", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/clearday", "--config", "/etc/clearday/clearday.toml"]
CMD ["serve"]
