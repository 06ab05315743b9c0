# make setup      create .venv and install the packages into it; all targets below do so where it is missing
# make repro      set up what is missing, run every stage that is not up to date, and print the result
# make test       the same set-up with the test tools, then all tests but the slowest; ARGS="-n 0 tests/unit/data"
# make test-all   the slow tests too, and those that start servers and clusters; all backbones: ARGS="-m every_backbone"
# make lint       style, types, import rules, prose, and the documentation's links
# make docs       the documentation as a site, in site/index.html
# make ui         this checkout's runs in MLflow, on port 5000
# make experiments  DVC's experiments: changed parameters, headline metrics, and the end of each run's name in MLflow
# make serve      MLflow's scoring server with the champion, on PORT=5001; without one, the best model so far
# make demo       a page on this machine: drop an image, see its classes and the heat map
# make bench      the pipeline against the source article's recipe, on IMAGES=<folder with train/ and test/>; over an hour
# make lock       resolve the newest versions that pyproject.toml allows, with hashes

PYTHON ?= python3
VENV := .venv
PORT ?= 5001
# The stages' command is python: the environment's has to come first.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
# DVC needs both, which users of containers may not have.
export LOGNAME := $(or $(LOGNAME),$(shell id -un 2>/dev/null || id -u))
export HOME := $(or $(HOME),$(shell home=$${TMPDIR:-/tmp}/home-$$(id -u) && mkdir -p -m 700 $$home && echo $$home))
GPU := $(wildcard /proc/driver/nvidia/gpus/* /dev/nvidia0 /usr/lib/wsl/lib/nvidia-smi)
LOCK := $(if $(GPU),requirements-gpu.lock,requirements.lock)
# Modules are compiled below, on all cores; pip uses one. Without bytecode, as in containers with PYTHONDONTWRITEBYTECODE,
# each process would compile them again, and TensorFlow's import would take 18 seconds instead of 5.
INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes
# Three workers keep two cores busy: some wait for DVC. A file stays with one worker, since its tests share an experiment.
TESTS := python -m pytest -n 3 --dist=loadfile --no-loadscope-reorder
# A line every four seconds on a terminal, since pip downloads all packages before it installs the first.
HEARTBEAT = if [ -t 1 ]; then (seconds=0; while sleep 4 && kill -0 $$$$ 2>/dev/null; do seconds=$$((seconds + 4)); \
	echo "  $$seconds s, $$(ls -d $(VENV)/lib/python3*/site-packages/*.dist-info 2>/dev/null | wc -l) packages installed"; \
	done) & beat=$$!; trap 'kill $$beat' EXIT INT TERM; fi;

.PHONY: setup repro test test-all lint docs ui experiments serve demo bench lock

setup: $(VENV)/.installed-$(LOCK)

repro: $(VENV)/.installed-$(LOCK)
	@# DVC refuses a folder without git, such as a downloaded archive, unless its configuration allows it.
	@[ -e .git ] || git rev-parse --git-dir >/dev/null 2>&1 || dvc config --local core.no_scm true
	dvc repro
	@[ ! -e outputs/evaluate/metrics.json ] || python -m pipeline.result

test: $(VENV)/.installed-$(LOCK) $(VENV)/.installed-requirements-dev.lock
	$(TESTS) $(ARGS)

test-all: test
	$(TESTS) -m "slow or server or cluster"

lint: docs
	ruff check .
	ruff format --check .
	python -m mypy
	lint-imports
	python tools/prose.py

docs: $(VENV)/.installed-requirements-dev.lock
	@# Strict: a link or an anchor that leads nowhere is an error.
	zensical build --clean --strict

ui: $(VENV)/.installed-$(LOCK)
	@# The user interface also opens if a server that has to be synchronised is unreachable.
	-python -m pipeline.sync
	@# Without the seven processes that wait for MLflow's own jobs, such as scoring language models.
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri sqlite:///mlflow.db

experiments: $(VENV)/.installed-$(LOCK)
	@# Without the hashes of dependencies, and what a table of 200 columns has no room for.
	dvc exp show --only-changed --keep 'accuracy$$' --drop '(conf|params\.yaml|.*\.lock)$$|.*/|accuracy_|Executor'

serve: $(VENV)/.installed-$(LOCK)
	@python -m pipeline.register --unless-champion
	@echo "Loading the champion; it answers at http://127.0.0.1:$(PORT)/invocations"
	@MLFLOW_LOGGING_LEVEL=WARNING MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR=false MLFLOW_TRACKING_URI=$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} mlflow models serve --model-uri models:/classifier@champion --env-manager local --port $(PORT)

demo: $(VENV)/.installed-$(LOCK)
	python -m pipeline.demo $(ARGS)

bench: $(VENV)/.installed-$(LOCK)
	python -m benchmarks.against_recipe $(IMAGES) $(ARGS)
	python -m benchmarks.throughput $(IMAGES)
	python -m benchmarks.memory

lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --output-file requirements.lock
	uv pip compile pyproject.toml --extra gpu --constraint requirements.lock --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --output-file requirements-gpu.lock
	uv pip compile pyproject.toml --extra dev --extra export --extra hub --extra optuna --extra parallel --extra postgresql --extra ray --extra slurm --constraint requirements.lock --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --output-file requirements-dev.lock

# Scripts in bin/ name the folder that they were installed in. An environment that was moved, or is half-made, is made anew.
ifeq ($(shell grep -sF "$(CURDIR)/$(VENV)/bin/python" $(VENV)/bin/pip),)
REMADE := $(VENV)/bin/python
.PHONY: $(REMADE)
endif

$(VENV)/bin/python:
	@# The environment that a link leads to belongs to another checkout.
	@[ ! -L $(VENV) ] || { echo "$(VENV) is a link to $$(readlink $(VENV)): remove the link, and make installs an environment here" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed and $(PYTHON) is {v[0]}.{v[1]}; name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.installed-%: % $(REMADE) | $(VENV)/bin/python
	@echo "Installing $$(grep -c '^[^ #].*==' $<) packages of $<: about three minutes on two cores and a fast connection"
	@$(HEARTBEAT) $(INSTALL) -r $< && $(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib
	@touch $@
