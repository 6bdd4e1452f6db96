# The README's two commands are `make demo` and `make test`; each sets up everything it needs.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
SEEDS ?= 20
export PYTHONDONTWRITEBYTECODE ?= 1

.PHONY: help setup demo test check laws sim bench docs lock openapi clean

help:  ## these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): requirements/dev.txt requirements/model.txt pyproject.toml tools/setup.sh
	tools/setup.sh $(VENV)
	@touch $@

setup: $(READY)  ## a virtual environment with everything, hash-checked

demo: $(READY)  ## a network of three sites, a training run cut off and resumed, its model answering
	$(PY) tools/demo.py

check: $(READY)  ## under a minute: style, types, contracts, tidiness, unit tests, laws, 20 seeds
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m pytest -n 2 tests/unit tests/laws tests/golden tests/simulation --seeds $(SEEDS)

test: $(READY)  ## all that CI runs: check, then every tier on real engines, stores, models, browser
	tools/setup.sh --system
	$(MAKE) check
	$(PY) -m pytest tests/contract tests/real

sim: $(READY)  ## seeded simulation: SEEDS=1000 for many, SEED=41 for one
	$(PY) -m pytest tests/simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

bench: $(READY)  ## speed and memory, with the machine's noise shown; figures go to docs/benchmarks.md
	$(PY) benchmarks/run.py

docs: $(READY)  ## regenerate what is made from code: OpenAPI, lifecycle and role tables, CLI reference
	$(PY) tools/make_docs.py

lock: $(READY)  ## renew the hash-locked requirements
	tools/lock.sh $(VENV)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .demo
