# What a GPU run needs, without this repository, which is mounted:
#
#   docker build -t tokensphere-gpu .
#   docker run --rm --gpus all --ipc host --user "$(id -u):$(id -g)" -v "$PWD:/work" tokensphere-gpu
#
# is `make gpu` with results in the checkout; data are found in its folder data/, notebooks are left
# in build/gpu. `... tokensphere-gpu make gpu PYTHON=python DRY=1` only says what it would do. Needs
# Docker with NVIDIA's container toolkit, and a driver for CUDA 13.

# CUDA's compiler, of the major version of torch's own CUDA: it compiles mamba-ssm and causal-conv1d.
FROM nvidia/cuda:13.0.2-devel-ubuntu24.04

# Versions of Debian packages go away as soon as they are replaced.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      build-essential git make python3 python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*

# Each compiler takes some GB: as many at once as there are cores would need a large machine.
ENV MAX_JOBS=4 PIP_NO_CACHE_DIR=1
COPY requirements.txt requirements-gpu.txt /build/
COPY .ci/gpu-environment /build/.ci/
RUN python3 -m venv /opt/gpu && /build/.ci/gpu-environment /opt/gpu/bin/python

# Whoever runs it is no user of the image and has no home there.
ENV PATH=/opt/gpu/bin:$PATH HOME=/tmp
WORKDIR /work
CMD ["make", "gpu", "PYTHON=python"]
