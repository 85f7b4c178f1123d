# The image of Lanyard: one binary, the libraries that it is linked to, and the CAs of the public web. It has no shell.
#
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" --build-arg SOURCE=https://git.example/lanyard -t lanyard .
#
# RUST may name a digest. Debian's image has the rest that the build needs: a C compiler, and the CAs.
ARG RUST=docker.io/library/rust:1.95.0-slim-trixie

FROM ${RUST} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked
# The root of the image. It has only the libraries that the loader lists; starting the binary in it checks that they suffice.
RUN set -eu; umask 022; \
    install -D -m 0755 target/release/lanyard /image/usr/local/bin/lanyard; \
    libraries=$(ldd target/release/lanyard | grep -o '/[^ ]*'); \
    cp -L --parents $libraries /image; \
    install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt; \
    echo 'lanyard:x:65532:65532::/var/lib/lanyard:/sbin/nologin' > /image/etc/passwd; \
    echo 'lanyard:x:65532:' > /image/etc/group; \
    echo 'hosts: files dns' > /image/etc/nsswitch.conf; \
    install -d -m 0700 -o 65532 -g 65532 /image/var/lib/lanyard; \
    install -D -m 0644 LICENSE /image/usr/share/doc/lanyard/copyright; \
    cp --parents /usr/share/doc/libc6/copyright /usr/share/doc/libgcc-s1/copyright \
        /usr/share/doc/ca-certificates/copyright /image; \
    chroot /image /usr/local/bin/lanyard --version

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Lanyard" \
    org.opencontainers.image.description="Ties each access token to the certificate of the workload that asked for it (RFC 8705): stolen, the token opens nothing." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}"
COPY --from=build /image /
USER 65532:65532
# mtls, public, ops
EXPOSE 8443 8444 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/lanyard"]
CMD ["serve", "--config", "/etc/lanyard/lanyard.yaml"]
