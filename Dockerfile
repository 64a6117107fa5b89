# Builds the server and puts it into a small image.
#
# Inside a container a server that listens on loopback could be reached by nobody, so this image listens on every address.
# It therefore starts only with an account (BONDED_ADMIN_PASSWORD_FILE and BONDED_AUTH_SECRET_FILE; see
# docs/how-to/accounts.md), or with BONDED_INSECURE_ANONYMOUS=true, where EVERYBODY WHO REACHES THE PORT MAY DO EVERYTHING.

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin bonded

FROM docker.io/library/debian:bookworm-slim
RUN useradd --system --uid 10001 bonded && install --directory --owner bonded /data
COPY --from=build /build/target/release/bonded /usr/local/bin/bonded
# Receivers of webhooks and stores of objects show certificates.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
USER bonded
ENV BONDED_LISTEN=0.0.0.0:8080 \
    BONDED_DATA=/data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["bonded"]
CMD ["serve"]
