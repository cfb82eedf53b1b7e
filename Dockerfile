# Hector in a container: docs/docker.md.
#
#   docker build -t hector .                      models by key; the embedded model's engine is in, its weights are not
#   docker build -t hector --build-arg WEIGHTS=1 .    with the weights of the embedded model (98 MB more)

ARG PYTHON=3.12

# What is pinned. It changes more rarely than the program, which has a layer of its own.
FROM python:${PYTHON}-slim AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /src
RUN python -m venv /opt/hector
COPY requirements.txt ./
RUN /opt/hector/bin/pip install --require-hashes -r requirements.txt

# The program alone, below /program as it will lie below /.
FROM dependencies AS program
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY migrations ./migrations
COPY clients ./clients
RUN /opt/hector/bin/pip install --no-deps --no-build-isolation --no-index --root /program .

# The weights: fetched again only when what fetches them changes.
FROM dependencies AS weights
ARG WEIGHTS=0
COPY app/llm/weights.py ./
RUN mkdir -p /opt/weights && if [ "$WEIGHTS" = 1 ]; then HECTOR_WEIGHTS_DIR=/opt/weights /opt/hector/bin/python weights.py; fi

FROM python:${PYTHON}-slim
# libgomp is what the engine of the embedded model needs beyond this image. The image of Python leaves its own library
# uncompiled, and this one's files cannot be written when it runs: compiled here once, not at every start.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && python -m compileall -q -x 'site-packages|ensurepip|idlelib|lib2to3|turtledemo|/test' /usr/local/lib/python3.*
RUN groupadd --gid 10001 hector \
    && useradd --uid 10001 --gid hector --home-dir /data --no-create-home --shell /usr/sbin/nologin hector \
    && install -d -o hector -g hector /data
COPY --from=dependencies /opt/hector /opt/hector
COPY --from=weights --chown=10001:10001 /opt/weights /opt/weights
COPY deploy/healthcheck.py /opt/healthcheck.py
COPY deploy/config.yaml /etc/hector/config.yaml
COPY --from=program /program/ /
# In a container every other address than 0.0.0.0 is one that nobody reaches; the configuration asks for a key.
ENV PATH=/opt/hector/bin:$PATH \
    HECTOR_CONFIG=/etc/hector/config.yaml \
    HECTOR_SERVER__HOST=0.0.0.0 \
    HECTOR_SERVER__PORT=8080 \
    HECTOR_WEIGHTS_DIR=/opt/weights \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080 50051
STOPSIGNAL SIGTERM
# A program of its own: it loads nothing of the server, and asks no proxy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/python3", "-IS", "/opt/healthcheck.py"]
# No shell in between: SIGTERM reaches the server, which sends its readers away and lets running turns end.
ENTRYPOINT ["hector"]
CMD ["serve"]
