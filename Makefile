# `make serve` and `make test` do all the set-up; what they need is Python 3.11 or later with pip.
# Every package comes from the lock files, checked by its hash, into .venv.

PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$each" && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := src tests bench tools examples

.PHONY: help serve demo test check chaos client docs bench lock clean

help:
	@echo 'make serve   the service with its own PostgreSQL on port 8011 (ARGS="--port 9000" and so on)'
	@echo 'make demo    watch a plan being carried out on a server of its own'
	@echo 'make test    the test suite (ARGS="tests/services -k settles" and so on)'
	@echo 'make check   format, lint, types, import rules, then the test suite'
	@echo 'make chaos   kill servers, workers and PostgreSQL under work, for CHAOS_SECONDS=120'
	@echo 'make bench   measure speed, beside what is to be reached'
	@echo 'make client  write the methods of the Python clients anew, of those of PlanStore'
	@echo 'make docs    write the pages of docs/ that are drawn from the program'
	@echo 'make lock    resolve the dependencies anew'

serve: .venv/.ready
	@$(BIN)/planstore serve $(ARGS)

demo: .venv/.ready
	@$(BIN)/planstore demo $(ARGS)

test: .venv/.ready-dev
	@$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

check: .venv/.ready-dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/pyright
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

chaos: .venv/.ready-dev
	@CHAOS_SECONDS=$${CHAOS_SECONDS:-120} $(BIN)/python -m pytest -s tests/chaos $(ARGS)

client: .venv/.ready-dev
	$(BIN)/python -m tools.write_client

docs: .venv/.ready-dev
	$(BIN)/python -m tools.write_docs

bench: .venv/.ready-dev
	@$(BIN)/python -m bench $(ARGS)

lock: .venv/.ready-dev
	$(PIP) install uv
	$(BIN)/uv pip compile $(LOCK) --group build pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile $(LOCK) --group build --group dev pyproject.toml -o requirements-dev.lock

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url

.venv/.made:
	@test -n "$(PYTHON)" || { echo 'PlanStore needs Python 3.11 or later: install it, or name it with PYTHON=…'; exit 1; }
	@echo 'Setting up .venv (once) …'
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.ready: requirements.lock pyproject.toml | .venv/.made
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.ready-dev: requirements-dev.lock pyproject.toml | .venv/.made
	@echo 'Installing what the tests need (once) …'
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ .venv/.ready

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache
