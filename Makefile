# What one runs here, a word each: `make help`.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
UV := $(BIN)/uv
# The first that is new enough and can make environments; 3.11 is what all of this is tested on.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

SERVE ?= 1
PYTEST_ARGS ?=
# One more than there are cores: tests wait for servers, too.
PYTEST_WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN || echo 1) + 1)
CODE := $(wildcard oms_ops pipelines dashboards tools tests)
TYPED := $(wildcard oms_ops pipelines dashboards tools)
MODELS := $(wildcard dbt_project/models dbt_project/tests)
LOCKS := requirements.lock requirements-dev.lock requirements-peers.lock

# Where it is set, these heavy packages are compiled again by every process that imports them.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help:  ## List what there is
	@awk -F ':.*##' '/^[a-z-]+:.*##/ { printf "  make %-10s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- The environment ------------------------------------------------------------------------

.PHONY: setup
setup: $(VENV)/.runtime  ## Make .venv from the lock: what the demo needs

.PHONY: setup-dev
setup-dev: $(VENV)/.dev  ## Make .venv from the lock: what tests and lint need too

# uv itself comes from the lock, checked against its hashes like the rest. Where PYTHON has pip, an
# environment without its own is made three seconds sooner.
$(UV): PIP_INSTALL = install --quiet --require-hashes --no-deps --requirement $(VENV)/uv.txt
$(UV):
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer, with venv, is needed" >&2; exit 1; }
	$(PYTHON) -m venv --without-pip $(VENV)
	@awk '/^[a-z]/ { wanted = /^uv==/ } wanted' requirements.lock > $(VENV)/uv.txt
	@$(PYTHON) -m pip --python $(BIN)/python $(PIP_INSTALL) 2>/dev/null \
		|| { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip $(PIP_INSTALL); }

# Either stamp satisfies the other's smaller need: the development lock holds all of the first.
$(VENV)/.runtime: requirements.lock pyproject.toml | $(UV)
	@if test -e $(VENV)/.dev; then $(MAKE) $(VENV)/.dev; else $(call install,requirements.lock); fi
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(UV)
	@$(call install,requirements-dev.lock)
	@touch $(VENV)/.runtime $@

# Nobody waits for the byte-code: it takes eleven seconds of the core that the demo leaves idle,
# and what is imported before its turn has come is compiled then.
install = set -e; \
	$(UV) pip sync --python $(BIN)/python --require-hashes $(1); \
	$(UV) pip install --python $(BIN)/python --quiet --no-deps --editable .; \
	(nice $(BIN)/python -m compileall -qq -x '/tests?/' $(VENV)/lib </dev/null >/dev/null 2>&1 &)

# Addresses and folders of the machine that locks must not get into the locks.
COMPILE = env -u PIP_FIND_LINKS -u UV_FIND_LINKS -u UV_INDEX -u UV_DEFAULT_INDEX \
	$(UV) --no-config pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --annotation-style line \
	--extra demo $(LOCK_ARGS)

.PHONY: lock
lock: | $(UV)  ## Lock the dependencies of pyproject.toml again (LOCK_ARGS=--upgrade for newer ones)
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --extra stripe --extra paypal --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	$(subst pyproject.toml,--group pyproject.toml:peers,$(subst --extra demo,,$(COMPILE))) --output-file requirements-peers.lock
	@! grep -nE '://|^-|file:|^/' $(LOCKS)

# --- Running it -----------------------------------------------------------------------------

.PHONY: demo
# What the environment takes stands in the demo's times.
demo: export DEMO_STARTED := $(shell date +%s)
demo: setup  ## Load real orders, run the pipeline, serve it all (SERVE=0: do not serve)
	@SERVE=$(SERVE) $(BIN)/python -m tools.demo

.PHONY: pipeline
pipeline: setup  ## Run the pipeline once
	@$(BIN)/python -m pipelines.run

.PHONY: doctor
doctor: setup  ## Say whether this installation can work
	@$(BIN)/oms doctor

# --- Keeping it right -----------------------------------------------------------------------

.PHONY: test
test: setup-dev  ## Run the tests (PYTEST_ARGS='-k lake')
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --maxprocesses 8 --dist worksteal $(PYTEST_ARGS)

.PHONY: proofs
proofs: setup-dev  ## Prove at length what the tests prove in short (half an hour; PYTEST_ARGS)
	PROOFS=long $(BIN)/python -m pytest -n 2 --dist worksteal -m proof $(PYTEST_ARGS)

.PHONY: lint
lint: style types imports sql  ## Check style, types, layers and models

.PHONY: style
style: setup-dev
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

.PHONY: types
types: setup-dev  ## Check types
	$(BIN)/mypy $(TYPED)

.PHONY: imports
imports: setup-dev
	$(BIN)/lint-imports

.PHONY: sql
sql: setup-dev
	$(BIN)/sqlfluff lint $(MODELS)

.PHONY: format
format: setup-dev  ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

.PHONY: bench
bench: setup-dev $(PEERS)/.made  ## Measure, and keep the ratios in docs/benchmarks.md (BENCH=capture,http)
	$(BIN)/python -m tests.benchmarks $(if $(BENCH),--only $(BENCH))

# What it is measured beside stays out of the environment that it is measured in.
$(PEERS)/.made: requirements-peers.lock | $(UV)
	$(PYTHON) -m venv --without-pip $(PEERS)
	$(UV) pip sync --python $(PEERS)/bin/python --require-hashes requirements-peers.lock
	@touch $@

.PHONY: clean
clean:  ## Remove the environment and caches; the state in var/ stays
	rm -rf $(VENV) $(PEERS) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
		dbt_project/target dbt_project/logs
