# Start with `make demo` or `make test`; both create .venv first. `make help` lists all targets.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup airflow-setup airflow demo demo-penguins test test-system test-all track soak check docs format notebook \
	system-deps clean

ROOT := .benison
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest $(if $(CI),--durations=25)
# One process per core, but at most four, because each needs memory. The tests of a file run in one process, because they
# share expensive fixtures.
AT_A_TIME := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# A pyenv shim named python3 fails if no version is selected, so use the first python3 that starts.
python3 = $(shell for p in python3 /usr/bin/python3 /usr/local/bin/python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1 && echo "$$p" && break; done)
# Only `make … PYTHON=…` counts; a PYTHON in the environment has probably another purpose.
chosen = $(if $(filter command line,$(origin PYTHON)),--python '$(PYTHON)')
start = python3="$(python3)"; \
	test -n "$$python3" || { echo "setup: no python3 that starts, 3.8 or newer (Debian, Ubuntu: apt install python3)" >&2; exit 1; }
bootstrap = $(start); "$$python3" .ci/bootstrap.py

# Airflow has its own environment, because it cannot share one with TFX.
airflow_setup = $(start); "$$python3" .ci/airflow_setup.py

# Only these files are read; collecting all tests takes half a minute.
SYSTEM_TESTS = $(sort $(shell grep -rl 'mark\.system' tests --include='test_*.py'))

# System packages that the tests marked `system` need.
SYSTEM_PACKAGES := chromium curl default-jre-headless golang-go redis-server postgresql

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

setup: ## create .venv from uv.lock (PYTHON=… chooses the interpreter)
	@$(bootstrap) setup $(chosen)

airflow-setup: ## create .airflow-venv, Airflow's own environment, from dags/uv.lock (PYTHON=… chooses the interpreter)
	@$(airflow_setup) $(chosen)

airflow: setup airflow-setup ## start Airflow on this machine with every shipped pipeline; Ctrl-C stops it (docs/airflow.md)
	@exec $(BIN)/python .ci/airflow_standalone.py --root $(ROOT)

demo: setup ## train, push and query an ensemble on three months of flights (about 4 minutes)
	$(BIN)/benison run flights --span 3-5 --root $(ROOT)
	$(BIN)/benison predict flights --root $(ROOT) --csv configs/examples/flights.csv --members

demo-penguins: setup ## the same on 344 penguins (about 90 seconds)
	$(BIN)/benison run penguins --root $(ROOT)
	$(BIN)/benison predict penguins --root $(ROOT) --csv configs/examples/penguins.csv --members

test: setup ## run the unit and integration tests; they need only Python packages
	$(PYTEST) $(AT_A_TIME)

test-system: setup ## run the tests that need system packages (make system-deps)
	$(PYTEST) -m "system and not soak" $(SYSTEM_TESTS)

test-all: test test-system ## run every test except the soak tests

track: setup ## run penguins with three seeds and write ROOT/track.json, to compare the two tracks (docs/second-track.md)
	$(BIN)/python -m benchmarks.tracks run $(ROOT)/track.json

soak: setup ## run the soak tests, then make test on the second track
	$(PYTEST) -m soak --real-processes
	$(if $(filter 0,$(shell id -u)),,sudo --preserve-env )$(CURDIR)/.ci/second-track

check: setup ## check formatting, lint, English, types, imports between packages and the lock files
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/python .ci/plain_english.py
	$(BIN)/mypy
	PYTHONPATH=.ci $(BIN)/lint-imports --no-logo
	@$(bootstrap) uv lock --check --quiet
	@$(bootstrap) uv lock --check --quiet --project dags

docs: setup ## write docs/cli.md from the code and build the documentation into site/
	$(BIN)/python docs/make_cli.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

notebook: setup ## open the notebooks in JupyterLab on loopback, with the ROOT of the command line
	BENISON_ROOT=$(abspath $(ROOT)) $(BIN)/jupyter lab --ip=127.0.0.1 --notebook-dir=notebooks \
		--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate $(if $(filter 0,$(shell id -u)),--allow-root)

format: setup ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

system-deps: airflow-setup ## install the system packages (apt) of the tests marked system
ifeq ($(strip $(SYSTEM_PACKAGES)),)
	@echo "no system packages needed"
else
	@echo "installing: $(SYSTEM_PACKAGES)"
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get update --quiet
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get install --yes --no-install-recommends $(SYSTEM_PACKAGES)
	GOBIN=$(CURDIR)/$(BIN) go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.8.9 # builds with Debian 12's Go, too
endif

clean: ## remove generated files and .venv, but not ROOT=.benison, which holds your runs
	rm -rf .venv .airflow-venv .uv build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
