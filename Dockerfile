# The sidecar's image: the bundle and nothing else, upon a base that holds Node and the libraries it needs.
#
#   npm ci && npm run build
#   docker build --build-arg BASE="$(node scripts/base-image.ts)" -t postern .
#
# BASE is what scripts/base-image.ts makes of the Node pinned in package-lock.json: no shell, no package manager. Any other image with
# Node 26 on its PATH does too, e.g. a distroless one.
ARG BASE
FROM ${BASE}

LABEL org.opencontainers.image.title="postern" \
      org.opencontainers.image.description="The side gate of a service: a sidecar that terminates mutual TLS and decides every request by policy" \
      org.opencontainers.image.licenses="Apache-2.0"

# Owned by root: the user it runs as can read the program, not change it.
COPY dist/ /postern/

# Probes are the orchestrator's: there is no shell and no HTTP client in here for a HEALTHCHECK to run.
USER 65532:65532
WORKDIR /
ENTRYPOINT ["node", "--max-semi-space-size=2", "--disable-sigusr1", "--disable-warning=ExperimentalWarning", "/postern/postern.js"]
CMD ["--help"]
