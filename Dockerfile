# Hector in a container: docs/docker.md.
#
#   docker build -t hector .                      models by key; the embedded model's engine is in, its weights are not
#   docker build -t hector --build-arg WEIGHTS=1 .    with the weights of the embedded model (98 MB more)

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /src
RUN python -m venv /opt/hector
# What is pinned changes more rarely than the program: a layer of its own.
COPY requirements.txt ./
RUN /opt/hector/bin/pip install --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY migrations ./migrations
COPY clients ./clients
RUN /opt/hector/bin/pip install --no-deps --no-build-isolation --no-index .
ARG WEIGHTS=0
RUN mkdir -p /opt/weights && if [ "$WEIGHTS" = 1 ]; then HECTOR_WEIGHTS_DIR=/opt/weights /opt/hector/bin/hector weights; fi

FROM python:${PYTHON}-slim
# libgomp is what the engine of the embedded model needs beyond this image.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 hector \
    && useradd --uid 10001 --gid hector --home-dir /data --no-create-home --shell /usr/sbin/nologin hector \
    && install -d -o hector -g hector /data
COPY --from=build /opt/hector /opt/hector
COPY --from=build --chown=10001:10001 /opt/weights /opt/weights
COPY deploy/config.yaml /etc/hector/config.yaml
# In a container every other address than 0.0.0.0 is one that nobody reaches; the configuration asks for a key.
ENV PATH=/opt/hector/bin:$PATH \
    HECTOR_CONFIG=/etc/hector/config.yaml \
    HECTOR_SERVER__HOST=0.0.0.0 \
    HECTOR_WEIGHTS_DIR=/opt/weights \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('HECTOR_SERVER__PORT', '8080') + '/ready', timeout=4)"]
# No shell in between: SIGTERM reaches the server, which sends its readers away and lets running turns end.
ENTRYPOINT ["hector"]
CMD ["serve"]
