# The service with the demo model, for compose.yml. Everything listens on loopback: reach it through the
# gateway in the same network namespace.
#
#   docker build -t korean-nli .
#
# torch's default build for Linux brings gigabytes of CUDA. For the CPU build name its index:
#   docker build -t korean-nli --build-arg PIP_EXTRA_INDEX_URL=... .
FROM python:3.11.13-slim-bookworm

# TorchServe ends workers with the program `kill`.
RUN apt-get update \
    && apt-get install -y --no-install-recommends procps \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home nli

WORKDIR /srv/nli
ENV PYTHONPATH=/srv/nli PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

COPY requirements.txt .
ARG PIP_EXTRA_INDEX_URL=
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt

COPY handler handler
COPY config config
COPY scripts scripts
COPY checkpoints/demo checkpoints/demo
# Loads and asks the model once, so an image without a working model isn't built.
RUN python scripts/build_archive.py --checkpoint checkpoints/demo --version 1.0 \
    && install -d -o nli -g nli .run

USER nli
VOLUME /srv/nli/.run

# Ready is when every worker of the default version answers a question.
HEALTHCHECK --interval=10s --timeout=15s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8085/ready', timeout=12)"]

# serve.py takes SIGTERM itself: it answers what it has before it ends.
CMD ["python", "scripts/serve.py", "--archive", "model_store/nli-1.0.mar", "--config", "config/production.properties", "--notice", "5"]
