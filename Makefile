# Two commands to begin with: `make demo` and `make test`. Both make .venv first; `make help` lists the rest.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup airflow-setup airflow demo demo-penguins test test-system test-all track soak check format system-deps clean

ROOT := .benison
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# A process per core, four at most for the sake of memory. A file's tests stay together, for they share costly fixtures.
AT_A_TIME := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# A pyenv shim named python3 fails where no version is selected: take the first python3 that starts.
python3 = $(shell for p in python3 /usr/bin/python3 /usr/local/bin/python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1 && echo "$$p" && break; done)
# Only `make … PYTHON=…` counts; a PYTHON in the environment was hardly meant for us.
chosen = $(if $(filter command line,$(origin PYTHON)),--python '$(PYTHON)')
found = python3="$(python3)"; \
	test -n "$$python3" || { echo "setup: no python3 that starts, 3.8 or newer (Debian, Ubuntu: apt install python3)" >&2; exit 1; }
bootstrap = $(found); "$$python3" .ci/bootstrap.py

# Airflow's environment is another one than TFX's.
airflow_setup = $(found); "$$python3" .ci/airflow_setup.py

# System packages that the tests marked `system` need.
SYSTEM_PACKAGES := chromium curl golang-go redis-server postgresql

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

setup: ## make .venv from uv.lock (PYTHON=… chooses the interpreter)
	@$(bootstrap) setup $(chosen)

airflow-setup: ## make .airflow-venv, Airflow's own environment, from dags/uv.lock (PYTHON=… chooses the interpreter)
	@$(airflow_setup) $(chosen)

airflow: setup airflow-setup ## start Airflow on this machine with every shipped pipeline; Ctrl-C ends it (docs/airflow.md)
	@exec $(BIN)/python .ci/airflow_standalone.py --root $(ROOT)

demo: setup ## the main job: three months of flights to a pushed ensemble, then five predictions (about 4 minutes)
	$(BIN)/benison run flights --span 3-5 --root $(ROOT)
	$(BIN)/benison predict flights --root $(ROOT) --csv configs/examples/flights.csv --members

demo-penguins: setup ## the same on 344 penguins (a minute and a half)
	$(BIN)/benison run penguins --root $(ROOT)
	$(BIN)/benison predict penguins --root $(ROOT) --csv configs/examples/penguins.csv --members

test: setup ## unit and integration tests: Python packages are all they need
	$(PYTEST) $(AT_A_TIME)

test-system: setup ## only the tests that need system packages (make system-deps)
	$(PYTEST) -m "system and not soak"

test-all: test test-system ## every test but the long counts

track: setup ## penguins with three seeds: ROOT/track.json, to compare with the other track's (docs/second-track.md)
	$(BIN)/python -m benchmarks.tracks run $(ROOT)/track.json

soak: setup ## the long counts: tests marked soak, and make test on the second track
	$(PYTEST) -m soak
	$(if $(filter 0,$(shell id -u)),,sudo --preserve-env )$(CURDIR)/.ci/second-track

check: setup ## format, lint, types, imports between packages, lock
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	PYTHONPATH=.ci $(BIN)/lint-imports --no-logo
	@$(bootstrap) uv lock --check --quiet
	@$(bootstrap) uv lock --check --quiet --project dags

format: setup ## let ruff format and repair what it can
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

system-deps: airflow-setup ## name and install (apt) what the tests marked system need
ifeq ($(strip $(SYSTEM_PACKAGES)),)
	@echo "nothing needed yet"
else
	@echo "installing: $(SYSTEM_PACKAGES)"
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get update --quiet
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get install --yes --no-install-recommends $(SYSTEM_PACKAGES)
	GOBIN=$(CURDIR)/$(BIN) go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.8.9 # builds with Debian 12's Go, too
endif

clean: ## remove what was made here, .venv too (not ROOT=.benison: that holds your runs)
	rm -rf .venv .airflow-venv .uv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
