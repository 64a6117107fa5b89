# Builds the server and puts it into a small image.
#
# WARNING: inside a container a server that listens on loopback could be reached by nobody, so this image listens on
# every address, and therefore sets `insecure_anonymous`: EVERYBODY WHO REACHES THE PORT MAY PUSH, PULL AND DELETE.
# There are no accounts yet. Publish the port on loopback only (`-p 127.0.0.1:8080:8080`), or put a proxy that asks for
# credentials before it.

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin bonded

FROM docker.io/library/debian:bookworm-slim
RUN useradd --system --uid 10001 bonded && install --directory --owner bonded /data
COPY --from=build /build/target/release/bonded /usr/local/bin/bonded
USER bonded
ENV BONDED_LISTEN=0.0.0.0:8080 \
    BONDED_DATA=/data \
    BONDED_INSECURE_ANONYMOUS=true
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["bonded"]
CMD ["serve"]
