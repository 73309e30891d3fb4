# `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The readers of exports have an environment of their own: they want other versions than we do.
READERS := .venv-readers

.DEFAULT_GOAL := help
.PHONY: help setup demo test faults readers contract openapi check format serve bench load quality reproduce teacher lock clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Make .venv with everything, from the lock file

$(INSTALLED): requirements/all.txt pyproject.toml client/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed; name one with: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/all.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e ./client -e .
	touch $@

demo: $(INSTALLED) ## The whole journey on a drawn world: labels, a trained student, a table
	$(BIN)/python -m demo.journey

test: $(INSTALLED) ## All tests
	$(BIN)/pytest -n 2 --dist loadfile

faults: $(INSTALLED) ## Everything that can break is broken: the long suite
	$(BIN)/pytest tests/faults --long -n 4

readers: $(INSTALLED) $(READERS)/.installed ## Exports opened by the programs that they are made for
	$(BIN)/python -m tests.readers.write $(READERS)/bin/python

$(READERS)/.installed: requirements/readers.txt
	$(PYTHON) -m venv $(READERS)
	$(READERS)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/readers.txt
	touch $@

contract: $(INSTALLED) ## Thousands of calls drawn from what /openapi.json says
	$(BIN)/pytest tests/integration/test_schemathesis.py --long

openapi: $(INSTALLED) ## Write docs/openapi.json anew
	$(BIN)/python -m app.description docs/openapi.json

check: $(INSTALLED) ## Format, lint, types, import rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## Format, and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

serve: $(INSTALLED) ## The service on http://127.0.0.1:8000
	$(BIN)/ccd serve

bench: $(INSTALLED) ## Speed and memory, beside what they are compared with
	$(BIN)/python -m benchmarks.speed

load: $(INSTALLED) ## Ten thousand jobs: simulated over the real store, and through the API
	$(BIN)/python -m benchmarks.simulate
	$(BIN)/python -m benchmarks.load

quality: $(INSTALLED) ## Does the method gain anything: three seeds on the drawn world
	$(BIN)/python -m benchmarks.quality

reproduce: $(INSTALLED) ## The paper's experiments on the drawn world: fills docs/RESULTS.md
	$(BIN)/python -m benchmarks.reproduce

teacher: $(INSTALLED) ## Train the bundled tiny teacher again
	$(BIN)/python -m demo.train_teacher

lock: ## Resolve the lock files again; needs uv
	env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL sh -c '\
	    lock() { file=$$1; shift; uv pip compile --quiet --universal --python-version 3.11 \
	        --generate-hashes --no-emit-index-url --no-header --no-annotate \
	        --no-emit-package ccd-client \
	        --constraints requirements/constraints.txt "$$@" --output-file $$file; }; \
	    lock requirements/api.txt pyproject.toml && \
	    lock requirements/worker.txt pyproject.toml --extra worker --extra offline && \
	    lock requirements/all.txt pyproject.toml --extra worker --extra offline --extra research --extra dev && \
	    lock requirements/readers.txt requirements/readers.in'

clean: ## Remove .venv and caches; data folders stay
	rm -rf $(VENV) $(READERS) build *.egg-info client/build client/src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
