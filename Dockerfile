# Openbook with its bundled models already converted; docs/docker.md says how to use it.
FROM python:3.12-slim

# 1000 is the first user's number on most Linux machines: documents that only this user may read can be mounted.
# The folders exist before the volumes do, because a new volume takes over the owner of what it covers.
RUN useradd --create-home --user-group --uid 1000 openbook \
    && install --directory --mode=0700 --owner=openbook --group=openbook /data /data/collections /data/models /data/app

# What changes least comes first. PyTorch's own index has builds without the CUDA libraries, which weigh gigabytes.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir torch==2.13.0 --index-url "$TORCH_INDEX_URL"

# Only wheels: nothing is compiled, so that the image needs no compiler.
WORKDIR /src
COPY requirements.lock ./
RUN pip install --no-cache-dir --no-deps --only-binary=:all: -r requirements.lock

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY rag/ rag/
COPY ingest/ ingest/
COPY ui/ ui/
# The setuptools that builds it came with torch.
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

# The hub's library keeps its scratch files beside the models, since the rest of the disk may be read-only.
ENV RAG_HOME=/data \
    HF_HOME=/data/models/.huggingface \
    HF_HUB_OFFLINE=1 \
    PYTHONUNBUFFERED=1

WORKDIR /data
USER 1000:1000
RUN rag models prepare

EXPOSE 8501
# Ctrl-C's signal: the first process of a container ignores SIGTERM, and `rag` ends cleanly on this one.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=3)"]
CMD ["rag", "ui", "--address", "0.0.0.0", "--port", "8501"]
