# The environment of requirements.lock, with the project in it. torch's wheels bring CUDA; the machine brings the driver.
#
#   docker build -t contrastmask .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/contrastmask" contrastmask        # Tables 1-7 at smoke scale
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/contrastmask" -v /data/coco:/data/coco:ro \
#       --gpus all --shm-size 16g contrastmask snakemake --cores all --config scale=paper data_root=/data/coco
#
# The mounted checkout takes the place of the image's: results, checkpoints and Snakemake's notes outlive the container.
#
# The same bytes each time: give the base by its digest, which `docker buildx imagetools inspect` of it prints,
#   docker build --build-arg BASE=python:3.11-slim-bookworm@sha256:... -t contrastmask .
ARG BASE=python:3.11-slim-bookworm
# hadolint ignore=DL3006
FROM ${BASE}

# git: every number carries the commit that it was made by. Debian's security fixes are wanted, so no versions are pinned
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && git config --system --add safe.directory '*' \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /contrastmask
# HOME, LOGNAME: a user that only the host knows has neither, and torch and Snakemake keep caches under them
ENV HOME=/tmp LOGNAME=contrastmask MLFLOW_DISABLE_TELEMETRY=true PYTHONUNBUFFERED=1 PATH=/opt/contrastmask/bin:$PATH

# The lock by itself: this layer, which is nearly all of the image, stays when only the project changes
COPY environment.py requirements.lock ./
RUN UV_CACHE_DIR=/opt/cache python environment.py /opt/contrastmask --without-project \
    && rm -rf /opt/cache

COPY . ./
RUN uv pip install --no-cache --python /opt/contrastmask --no-deps --no-build-isolation --editable .

# Nobody in particular; --user above takes the place of it. Results go to the mounted checkout, which its owner can write to
USER 1000:1000
CMD ["snakemake", "--cores", "all"]
