# Everything is installed below .venv and the user's cache; nothing else on the machine is changed.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 4
PYTEST := $(BIN)/python -m pytest

.PHONY: help install rehearse servers test test-core lint format types docs bench lock deployments clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: $(READY) ## make .venv from the locked packages

$(READY): requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found: install one, or set PYTHON=/path/to/python"; exit 1; }
	@echo "[install] making $(VENV) with $$($(PYTHON) --version) from requirements-dev.lock"
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv -q --clear --python $(PYTHON) $(VENV) && uv pip install -q --python $(BIN)/python --require-hashes -r requirements-dev.lock \
	    && uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
	  { $(PYTHON) -m venv --clear $(VENV) || { echo "[install] this Python has no venv module: on Debian, apt-get install python3-venv"; exit 1; }; } \
	    && $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock -c requirements-dev.lock \
	    && $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $@

servers: $(READY) ## find or build the real servers that the tests start (once per machine)
	@$(BIN)/python -m tests.servers.assets

rehearse: $(READY) ## upgrade a simulated site on this machine, for real
	@$(BIN)/compass-upgrade rehearse $(ARGS)

test: servers ## the whole suite, on real servers
	$(PYTEST) -n $(WORKERS) --dist loadgroup --no-loadscope-reorder -q

test-core: $(READY) ## the tests that need no server: seconds
	$(PYTEST) -q -m "not servers and not prefect and not node" tests/compass tests/test_layers.py

lint: $(READY) ## ruff, and the layer test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## format every file
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## mypy, strict
	$(BIN)/mypy

docs: $(READY) ## check that the documents' links, commands and translations hold
	$(PYTEST) -q tests/test_docs.py

bench: $(READY) ## measure, as ratios against a peer in the same run
	$(BIN)/python -m bench.backup
	$(BIN)/python -m bench.images

deployments: $(READY) ## write prefect.yaml from deployments/inventory.yaml
	$(BIN)/python -m deployments.render

lock: $(READY) ## lock the packages again, with hashes and without an index
	$(BIN)/uv pip compile pyproject.toml -c constraints.txt --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate -q -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev -c constraints.txt -c requirements.lock --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o requirements-dev.lock

clean: ## remove what was made here; the cache of built servers stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
