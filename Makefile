# What one does with this project. `make` alone lists it.
#
# Needed on the machine: Python 3.11 or later, make, and Maven (or a Docker engine). Everything else is
# brought into .venv/ and .sluice/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.9
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done)
TOOLS := .sluice/tools
UV := $(shell command -v uv || echo $(TOOLS)/bin/uv)
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help
help: ## List what can be made.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '  \033[1mmake %-7s\033[0m %s\n' "$$name" "$$text"; done

.PHONY: setup
setup: $(INSTALLED) ## Install everything into .venv/ (repeated only when the lock changes).

.PHONY: demo
demo: $(INSTALLED) ## Start the stack, import the sample file, print the account; leaves it running.
	@$(BIN)/sluice status >/dev/null 2>&1 || $(BIN)/sluice up --detach --wait
	@$(BIN)/sluice demo

.PHONY: test
test: $(INSTALLED) ## Run all tests on servers of their own.
	@$(BIN)/sluice fetch
	$(BIN)/pytest -m "not chaos"

.PHONY: check
check: $(INSTALLED) ## Lint, types, import rules, and the deployment files.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m sluice.documents --check
	$(BIN)/python -m tests.requirements_report --check
	$(BIN)/yamllint --strict -d '{extends: default, rules: {line-length: {max: 120}}}' \
		docker-compose.yml .pre-commit-config.yaml
	@if docker compose version >/dev/null 2>&1; then \
		echo 'docker compose config -q'; \
		docker compose --env-file .env.example config -q; fi

.PHONY: docs requirements
docs: $(INSTALLED) ## Make the documents that come from code: AsyncAPI, metrics, requirements.
	$(BIN)/python -m sluice.documents
	$(BIN)/python -m tests.requirements_report
requirements: docs

.PHONY: bench
bench: $(INSTALLED) ## Measure, as ratios in one run; one JSON object per benchmark.
	@$(BIN)/sluice bench

.PHONY: chaos
chaos: $(INSTALLED) ## Break it in rounds and compare with the oracle (SEED= FAULT= ROUND= ROUNDS= ROWS=).
	@$(BIN)/sluice fetch
	$(BIN)/pytest -m chaos -s tests/chaos

.PHONY: down
down: ## Stop the local stack; its data stays.
	@if [ -x $(BIN)/sluice ]; then $(BIN)/sluice down; fi

.PHONY: clean
clean: ## Stop the stack and remove everything that was made, its data included.
	@if [ -x $(BIN)/sluice ]; then $(BIN)/sluice down --wipe; fi
	rm -rf .venv .sluice dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: lock
lock: $(UV) ## Rewrite requirements.lock from pyproject.toml.
	@# Without the index's address, so that any mirror serves.
	$(UV) pip compile pyproject.toml --quiet --group dev --universal --generate-hashes --no-header \
		--no-emit-index-url --python-version 3.11 -o requirements.lock

.env: ## Make the secrets of docker-compose.yml, once.
	@umask 077; sed -E "/^[A-Z_]+=$$/d" .env.example > $@; \
	for name in $$(sed -nE 's/^([A-Z_]+)=$$/\1/p' .env.example); do \
		echo "$$name=$$($(PYTHON) -c 'import secrets; print(secrets.token_hex(32))')" >> $@; done; \
	echo "Made $@: start with \`docker compose up --build --wait\`."

$(INSTALLED): pyproject.toml requirements.lock | $(UV)
	@echo 'Installing into .venv/ ...'
	@[ -x $(BIN)/python ] || $(UV) venv --quiet --python "$(PYTHON)" .venv
	@VIRTUAL_ENV=.venv $(UV) pip sync --quiet --require-hashes requirements.lock
	@VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-build-isolation --no-deps -e .
	@touch $@

# uv itself, where the machine has none.
$(TOOLS)/bin/uv:
	@[ -n "$(PYTHON)" ] || { echo 'error: Python 3.11 or later is not installed: install it (Debian and Ubuntu:' \
		'`apt install python3`), or name one with `make PYTHON=/path/to/python`.' >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo 'error: this Python cannot make virtual' \
		'environments: install its venv module (Debian and Ubuntu: `apt install python3-venv`).' >&2; exit 1; }
	@echo 'Fetching uv $(UV_VERSION) ...'
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) || { \
		echo 'error: uv could not be downloaded: check the connection and try again.' >&2; exit 1; }
