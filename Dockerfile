# The environment of requirements.lock, with the project in it. torch's wheels bring CUDA; the machine brings the driver.
#
#   docker build -t contrastmask .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/contrastmask" contrastmask        # Tables 1-7 at smoke scale
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/contrastmask" -v /data/coco:/data/coco:ro \
#       --gpus all --shm-size 16g contrastmask snakemake --cores all --config scale=paper data_root=/data/coco
#
# The mounted checkout takes the place of the image's: results, checkpoints and Snakemake's notes outlive the container.
FROM python:3.11-slim-bookworm

# git: every number carries the commit that it was made by. Debian's security fixes are wanted, so no versions are pinned
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && git config --system --add safe.directory '*' \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /contrastmask
# HOME: a user that only the host knows has none, and torch and Snakemake keep caches there
ENV HOME=/tmp MLFLOW_DISABLE_TELEMETRY=true PYTHONUNBUFFERED=1

# The lock by itself: this layer, which is nearly all of the image, stays when only the project changes. --no-deps: the
# lock is complete, and leaves out opencv-python, which needs libGL and overwrites the headless build.
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock

COPY . ./
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation --editable .

CMD ["snakemake", "--cores", "all"]
