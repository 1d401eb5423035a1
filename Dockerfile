# syntax=docker/dockerfile:1
# The build is static (musl), so that the final stage needs nothing: no shell, no package manager, no libc.
FROM docker.io/library/rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY Cargo.toml Cargo.lock clippy.toml ./
COPY core core
COPY src src
COPY benches benches
COPY tests tests
RUN cargo build --release --locked --bin ringfence

FROM scratch
COPY --from=build /src/target/release/ringfence /ringfence
# No user database is needed for a number. Nothing is written: run it with a read-only root file system.
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["/ringfence"]
CMD ["serve", "--addr", "0.0.0.0:8443", "--admin-addr", "0.0.0.0:8080", "--cert-dir", "/etc/ringfence/tls"]
