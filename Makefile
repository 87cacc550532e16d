# The commands a person types. `make tables` and `make test` need Python 3.11, 3.12 or 3.13 and nothing else.
PYTHON ?= python3
CORES ?= $(shell nproc)
SCALE ?= smoke
BIN := .venv/bin
# a file of tests on each core, as many as have memory for it: tests of one file share what they make
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile
HOST_PATH := $(PATH)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
# Snakemake keeps a cache under HOME, which a user of a container may not have
ifneq ($(shell test -w "$(HOME)" && echo writable),writable)
export XDG_CACHE_HOME := $(CURDIR)/.snakemake/cache
endif

# The lock is complete without opencv-python, which mmcv asks for: it overwrites the headless build and needs libGL
RESOLVE := $(BIN)/uv pip compile --generate-hashes --python-platform x86_64-manylinux_2_28 --no-header --no-annotate \
    --extra dev --no-emit-package contrastmask --no-emit-package opencv-python pyproject.toml

.PHONY: tables report test test-slow test-all test-slurm test-tracking-server faults ui sync model-table
.PHONY: bench bench-rows bench-start bench-gpu bench-counts bench-released parity lint lock clean help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 22

tables: $(BIN)/.ready  ## Tables 1-7 at smoke scale on embedded data
	snakemake --cores $(CORES)

report: $(BIN)/.ready  ## the tables, then one page with everything behind them
	snakemake --cores $(CORES) report

test: $(BIN)/.ready  ## the tests, one small chain among them: minutes
	$(PYTEST) -m "not slow and not faults"

test-slow: $(BIN)/.ready  ## all tables at smoke scale, whole trainings, and the faults in their short form
	$(PYTEST) -m "slow or faults"

test-all: test test-slow  ## both

test-slurm: $(BIN)/.ready  ## the test on a real one-node Slurm (Debian: munge slurmctld slurmd slurm-client)
	TEST_SLURM=1 $(BIN)/python -m pytest tests/slurm

test-tracking-server: $(BIN)/.ready  ## eight runs against a real MLflow server on PostgreSQL (apt-get install postgresql)
	CONTRASTMASK_POSTGRES=required $(BIN)/python -m pytest tests/tracking/test_tracking_server.py

faults: $(BIN)/.ready  ## break it: kills, full disks, 10,000 bad files; 45 minutes. The figures: docs/reliability.md
	CONTRASTMASK_FAULTS=full $(BIN)/python -m pytest tests/faults

ui: $(BIN)/.ready  ## compare runs in MLflow, http://127.0.0.1:5000; another port: make ui PORT=5001
	$(BIN)/contrastmask ui $(if $(PORT),--port $(PORT))

sync: $(BIN)/.ready  ## bring MLflow up to date with the files under results/
	$(BIN)/contrastmask sync

model-table: $(BIN)/.ready  ## parameters and FLOPs of each system at paper scale
	$(BIN)/python -m benchmarks.model_table

bench: $(BIN)/.ready  ## time and memory of a training step of each system; make bench SCALE=paper on a GPU
	$(BIN)/python -m benchmarks.bench --scale $(SCALE)
	$(BIN)/python -m benchmarks.bench_rows

bench-rows: $(BIN)/.ready  ## of it: time and memory of 10, 100 and 1,000 rows
	$(BIN)/python -m benchmarks.bench_rows

bench-start: $(BIN)/.ready  ## what a newcomer waits for: set-up, imports, a run with nothing to do
	$(BIN)/python -m benchmarks.bench_start

bench-gpu: $(BIN)/.ready  ## ContrastMask's throughput beside mmdet's Mask R-CNN, and the operators, on a GPU
	$(BIN)/python -m benchmarks.bench_gpu

bench-counts: $(BIN)/.ready  ## operators and halts of a training step beside mmdet's
	$(BIN)/python -m benchmarks.counts

bench-released: $(BIN)/.ready  ## the contrastive part beside the released code: make bench-released THEIRS=<checkout>
	$(BIN)/python -m benchmarks.released $(if $(THEIRS),--theirs $(THEIRS))

# and PHOTOS="a.jpg b.jpg", on which the whole detectors are compared
parity: $(BIN)/.ready  ## preset official beside the released code: make parity THEIRS= VLKIT= MMCV=, each a checkout
	$(BIN)/python -m benchmarks.parity $(if $(THEIRS),--theirs "$(THEIRS)") $(if $(VLKIT),--vlkit "$(VLKIT)") \
	    $(if $(MMCV),--mmcv "$(MMCV)") $(if $(PHOTOS),--photos $(PHOTOS))

lint: $(BIN)/.ready  ## ruff, mypy, snakefmt
	ruff check . && ruff format --check . && mypy && snakefmt --check Snakefile workflow

lock: $(BIN)/.ready  ## resolve pyproject.toml anew, to the same pins for Python 3.11, 3.12 and 3.13
	$(RESOLVE) --python-version 3.11 --output-file requirements.lock >/dev/null
	for python in 3.12 3.13; do \
	    $(RESOLVE) --python-version $$python --constraints requirements.lock | diff - requirements.lock || \
	        { echo "Python $$python needs other pins: narrow pyproject.toml"; exit 1; }; done

clean:  ## delete the smoke results
	rm -rf results/smoke .snakemake

# `snakemake`, `ruff` and so on are looked for in the environment, which is made by a Python from outside of it
$(BIN)/.ready: export PATH := $(HOST_PATH)
$(BIN)/.ready: requirements.lock pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || \
	    { echo "there is no $(PYTHON); Python 3.11, 3.12 or 3.13 is needed: make PYTHON=<its name>"; exit 1; }
	@"$(PYTHON)" environment.py .venv

# scripts in a venv name its folder: after a move it is made anew
ifneq "$(shell cat $(BIN)/.ready 2>/dev/null)" "$(CURDIR)"
.PHONY: $(BIN)/.ready
endif
