# `make help` lists what there is. Needs make and Python 3.11 or later; everything else is installed on first use.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= $(firstword $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name; done) python3)
RUN := .venv/bin/python
UV := UV_SYSTEM_CERTS=1 .bootstrap/bin/uv
WORKERS ?= 2
MINUTES ?= 10
CODE := libs services deploy $(wildcard tests conftest.py)
MEMBERS := $(wildcard libs/* services/*) deploy/local
UNIT := libs services deploy --ignore-glob=*/tests/integration/*
INTEGRATION := $(wildcard libs/*/tests/integration services/*/tests/integration deploy/*/tests/integration tests)

.PHONY: help setup run demo stop test check fmt lint types unit isolated integration serial lock lock/check \
	lock/wheels bench bench/history chaos db/migrate db/shell topics/list topics/create docs clean

help: ## this list
	@grep -hE '^[a-z/]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

setup: ## install what the lock names into .venv (every other target does it by itself)
	@$(PYTHON) deploy/bootstrap.py

run: setup ## start the whole stack, run a first job, stay up until Ctrl-C
	@$(RUN) -m jobyard_local run

demo: setup ## the same on ports and data of its own, then stop
	@$(RUN) -m jobyard_local demo

stop: setup ## stop a stack that was left running
	@$(RUN) -m jobyard_local stop

test: setup lint types lock/check isolated integration serial ## every test, unit to end to end

check: setup lint types lock/check unit ## the fast part: style, types, import contracts, lock, unit tests

lint: setup
	@$(RUN) -m ruff check $(CODE)
	@$(RUN) -m ruff format --check $(CODE)
	@if [ -f .importlinter ]; then .venv/bin/lint-imports; fi

types: setup
	@$(RUN) -m mypy $(addsuffix /src,$(MEMBERS))

unit: setup
	@$(RUN) -m pytest -q -m "not serial" -n $(WORKERS) $(UNIT)

isolated: setup ## unit tests of each member with nothing but what it declares
	@$(RUN) deploy/isolated.py

integration: setup
	@$(RUN) -m pytest -q -m "not serial" -n $(WORKERS) $(INTEGRATION)

serial: setup
	@$(RUN) -m pytest -q -m serial libs services deploy $(wildcard tests) || [ $$? -eq 5 ]

fmt: setup ## format the code and sort its imports
	@$(RUN) -m ruff check --fix --exit-zero --quiet $(CODE)
	@$(RUN) -m ruff format $(CODE)

lock: setup ## pin everything anew, within the ranges of the members
	@$(PYTHON) deploy/lock.py

lock/check: setup
	@$(RUN) deploy/check_lock.py

lock/wheels: setup ## which locked packages have no wheel on which platform (asks the registry)
	@$(RUN) deploy/check_wheels.py

bench: setup ## measure this machine against docs/performance.md
	@$(RUN) -m tests.load.bench

bench/history: setup ## the same questions on a history of up to ten million jobs (ROWS=10000000)
	@$(RUN) -m tests.load.history

chaos: setup ## break everything for MINUTES=10, lose nothing; SEED=… repeats a run
	@$(RUN) -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

db/migrate: setup ## bring the schemas of the running stack to the newest version
	@$(RUN) -m jobyard_local db migrate

db/shell: setup ## psql on the running stack
	@$(RUN) -m jobyard_local db shell

topics/list: setup ## topics of the running stack
	@$(RUN) -m jobyard_local topics list

topics/create: setup ## create the topics that are missing
	@$(RUN) -m jobyard_local topics create

docs: setup ## write the generated documents anew
	@$(RUN) docs/generate.py

clean: ## remove environments and caches, keep data
	@rm -rf .venv .bootstrap .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
