# `make` alone says what there is. PYTHON=python3.12 make ... picks another Python (3.10 to 3.13).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Arguments for pytest: make test PYTEST_ARGS="tests/batch -k resume"
PYTEST_ARGS ?=
# Processes that share the test files; 0 runs them in one, which debuggers want.
PYTEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all test-fast check format protos clean distclean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## Make .venv and install cvserve with everything into it

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
		{ echo "cvserve needs Python 3.10 to 3.13; $(PYTHON) is `$(PYTHON) --version 2>&1`. Try: PYTHON=python3.12 make" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing cvserve and its dependencies into $(VENV): a few minutes, the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,test,dev]'
	@touch $@

demo: $(STAMP) ## Train, export, serve and ask on generated images: demo_output/
	@$(BIN)/cvserve demo --out demo_output

test: $(STAMP) ## Run the tests (under 15 minutes on 2 cores)
	@$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-all: $(STAMP) ## Run them, and those that show the same of yet more networks
	@$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder -m "" $(PYTEST_ARGS)

test-fast: $(STAMP) ## Run the tests that take no time (under a minute)
	@$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow and not thorough" $(PYTEST_ARGS)

check: $(STAMP) ## Lint, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP) ## Format the code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

# Generated code needs the grpcio and protobuf that made it or later ones, so it is made by the oldest that setup.cfg allows.
PROTOS_PYTHON := build/protos/bin/python
protos: $(STAMP) ## Generate cvserve/protos/*_pb2* again after a change of the .proto
	@$(PROTOS_PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear build/protos
	@$(PROTOS_PYTHON) -m pip install --quiet --disable-pip-version-check grpcio-tools==1.80.0
	@$(PROTOS_PYTHON) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. cvserve/protos/*.proto
	@$(BIN)/python tools/collect_protos.py

clean: ## Remove caches, builds and demo_output
	@rm -rf build dist demo_output .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find cvserve tests -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## The same, and .venv
	@rm -rf $(VENV) *.egg-info
