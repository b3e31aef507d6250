# The only door to every chore. `make help` explains the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?=
QUICK ?=
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: help run install test test-reference check format bench tiny clean
.DEFAULT_GOAL := help

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.server ## Install what is needed and see drawings moderated (PORT=8000, PYTHON=python3)
	@$(BIN)/moderato demo $(if $(PORT),--port $(PORT))

install: $(VENV)/.everything ## Install every extra and the development tools into .venv

test: $(VENV)/.test ## Run the tests (no torch, no network)
	$(BIN)/python -m pytest -m "not reference"

test-reference: $(VENV)/.everything ## Compute the golden files again with transformers and torch, and compare live
	$(BIN)/python -m pytest -m reference

check: $(VENV)/.everything ## Format, lint, types, who imports whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.everything ## Put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.everything ## Measure this machine and write docs/performance.md (about 25 minutes; QUICK=1: a few)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

tiny: $(VENV)/.everything ## Draw the pictures and train the built-in encoder again (about half an hour on 2 cores)
	$(BIN)/python -m tools.tiny

clean: ## Remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

# Each stamp is an installation; a later one contains the earlier.
$(VENV)/.server: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing moderato into $(VENV) (a minute or two the first time) ..."
	@$(INSTALL) '.[server]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(INSTALL) '.[server,traces,evaluate,openvino,test]'
	@touch $(VENV)/.server $@

$(VENV)/.everything: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(INSTALL) '.[server,traces,evaluate,openvino,test,check,reference,bench]'
	@touch $(VENV)/.server $(VENV)/.test $@

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)' here. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "moderato needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv. Or name another: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
