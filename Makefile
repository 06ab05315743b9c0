# make repro    set up what is missing, then run every stage that is not up to date
# make test     the same set-up with the test tools, then the tests
# make ui       browse this checkout's runs
# make serve    MLflow's scoring server with the champion (the best model so far, where none was registered), on port PORT=5001
# make demo     a page on this machine to try the best model on: drop an image, see classes and where it looked
# make bench    the pipeline against the source article's recipe, on IMAGES=<folder with train/ and test/>; an hour or more
# make lock     resolve the newest versions that pyproject.toml allows, with hashes

PYTHON ?= python3
VENV := .venv
PORT ?= 5001
# The stages' command is python: the environment's comes first.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
GPU := $(wildcard /proc/driver/nvidia/gpus/* /dev/nvidia0 /usr/lib/wsl/lib/nvidia-smi)
LOCK := $(if $(GPU),requirements-gpu.lock,requirements.lock)
# pip would compile the modules on one core; and left to their first import, each process would do it again where Python is told to leave
# no bytecode behind (PYTHONDONTWRITEBYTECODE, as container images do): 18 seconds instead of 5 before TensorFlow is there.
INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes

.PHONY: repro test ui serve demo lock lint bench

repro: $(VENV)/.installed-$(LOCK)
	dvc repro

test: $(VENV)/.installed-$(LOCK) $(VENV)/.installed-requirements-dev.lock
	python -m pytest $(ARGS)

lint: $(VENV)/.installed-requirements-dev.lock
	ruff check .
	ruff format --check .

ui: $(VENV)/.installed-$(LOCK)
	@echo "The leaderboard: http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=leaderboard"
	mlflow ui --backend-store-uri sqlite:///mlflow.db

serve: $(VENV)/.installed-$(LOCK)
	python -m pipeline.register --unless-champion
	MLFLOW_TRACKING_URI=$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} mlflow models serve --model-uri models:/classifier@champion --env-manager local --port $(PORT)

demo: $(VENV)/.installed-$(LOCK)
	python -m pipeline.demo $(ARGS)

bench: $(VENV)/.installed-$(LOCK)
	python -m benchmarks.run $(IMAGES) $(ARGS)
	python -m benchmarks.throughput $(IMAGES)
	python -m benchmarks.memory

lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --output-file requirements.lock
	uv pip compile pyproject.toml --extra gpu --constraint requirements.lock --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --output-file requirements-gpu.lock
	uv pip compile pyproject.toml --extra dev --extra export --extra optuna --extra parallel --extra postgresql --extra ray --extra slurm --constraint requirements.lock --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --output-file requirements-dev.lock

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed and $(PYTHON) is {v[0]}.{v[1]}; name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: % | $(VENV)/bin/python
	@echo "Installing $< (a minute or more)"
	$(INSTALL) -r $<
	$(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib
	@touch $@
