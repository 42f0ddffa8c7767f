# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PRESET ?= demo
PYTEST_FLAGS ?=

.PHONY: help
help: ## List these commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

.PHONY: demo
demo: $(VENV)/.installed ## From this machine's Python documentation to a small aligned model
	$(BIN)/bloomery run pipeline --preset demo
	@echo "The report is above; \`$(BIN)/bloomery up\` shows runs and reports in the browser."

.PHONY: test
test: $(VENV)/.installed-dev ## The default test suite: no network, no data, no server left behind
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(PYTEST_FLAGS)

.PHONY: check
check: $(VENV)/.installed-dev ## Style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: install
install: $(VENV)/.installed-dev ## The virtual environment, with what development needs

.PHONY: clean
clean: ## Remove the virtual environment and caches; the store stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache *.egg-info

# pyproject.toml says what fits, constraints.txt what was tested. The pinned torch may be a CPU
# build where pip is configured with one.
# The compiled parts are built anew when one of their sources changes.
$(VENV)/.installed: pyproject.toml constraints.txt setup.py $(wildcard tasks/*/native/*)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bloomery needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
