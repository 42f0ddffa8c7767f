# syntax=docker/dockerfile:1
# The image for training and evaluation on NVIDIA GPUs. Built from the repository root:
#   docker build -f docker/gpu.Dockerfile -t bloomery-gpu .
# The CUDA libraries come with torch; the host brings a driver and the NVIDIA container toolkit.

FROM python:3.11.14-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Debian removes old package versions, so a pinned one would break the build within weeks.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes g++ \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY pyproject.toml constraints.txt ./
ARG TORCH_INDEX=
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
# The dependencies alone first: this layer is built again only when one of them changes.
RUN python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > requirements.txt \
    && pip install --constraint constraints.txt --requirement requirements.txt
# The compiled HTML reader and language detector, which the last stage has no compiler for.
COPY setup.py ./
COPY tasks/extract/native tasks/extract/native
COPY tasks/common/native tasks/common/native
RUN pip install --constraint constraints.txt pybind11 "setuptools>=77" \
    && python setup.py build_ext --inplace

FROM python:3.11.14-slim-bookworm
# torch.compile builds its launchers with the machine's C compiler, while it runs.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
# HOME holds what must outlive a container: Prefect's files, leases, artifacts in the making.
RUN useradd --uid 1000 --create-home --home-dir /var/lib/bloomery bloomery
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY . .
COPY --from=build /app/tasks/extract/*.so tasks/extract/
COPY --from=build /app/tasks/common/*.so tasks/common/
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    BLOOMERY_HOME=/var/lib/bloomery \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
VOLUME /var/lib/bloomery
# Prefect's settings come from prefect.toml; the command takes this process's place and its signals.
ENTRYPOINT ["python", "-m", "flows.prefect_env"]
CMD ["prefect", "worker", "start", "--type", "process", "--pool", "gpu", "--limit", "1"]
