# The server in a container. `docker build --tag rapidflow-web .`; docs/operations.md says how to run it.

# Debian or its like, with Python 3.11 or newer and its venv module.
ARG BASE=python:3.11-slim-bookworm

# What gives a machine's engine to the server: `docker build --target relay --tag rapidflow-relay .`; see docs/cluster.md.
FROM ${BASE} AS relay-files
COPY scripts/relay_files.py /
COPY rapidflow_web/executors/cluster/relay.py rapidflow_web/executors/cluster/tunnel.py /source/rapidflow_web/executors/cluster/
RUN python3 -ISB /relay_files.py /source /relay

FROM scratch AS relay
COPY --from=relay-files /relay /
STOPSIGNAL SIGTERM
ENTRYPOINT ["/bin/python3", "-ISB", "/relay"]


FROM ${BASE} AS build
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/rapidflow
WORKDIR /source
COPY requirements.txt requirements-build.txt requirements-dev.txt ./
# Before the sources, so that a change of them installs nothing again. asyncpg is for PostgreSQL.
RUN /build/bin/pip install --no-cache-dir --requirement requirements-build.txt \
 && /build/bin/pip --python /opt/rapidflow install --no-cache-dir \
      --requirement requirements.txt --constraint requirements-dev.txt asyncpg
COPY . .
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /build/bin/pip --python /opt/rapidflow install --no-deps --no-cache-dir /wheel/*.whl


FROM ${BASE}
# More Debian packages: postgresql-client for backups of PostgreSQL, what builds call with the executor `process`.
ARG PACKAGES=
# tini reaps what builds leave behind with the executor `process`.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      ca-certificates git git-lfs openssh-client tini ${PACKAGES} \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --create-home --shell /bin/bash rapidflow \
 && install --directory --owner rapidflow --group rapidflow --mode 0700 /data
COPY --from=build /opt/rapidflow /opt/rapidflow
ENV PATH=/opt/rapidflow/bin:$PATH \
    RAPIDFLOW_BIND=0.0.0.0:3000 \
    RAPIDFLOW_DATA=/data
USER rapidflow
WORKDIR /home/rapidflow
VOLUME /data
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python3", "-c", "import os, urllib.request as http; http.urlopen('http://127.0.0.1:' + os.environ['RAPIDFLOW_BIND'].rpartition(':')[2] + '/health')"]
ENTRYPOINT ["tini", "--"]
CMD ["rapidflow", "serve"]
