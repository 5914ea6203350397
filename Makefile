# Rahdar. `make` shows what there is; every target does its own set-up.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
CODE   := pipeline agents simulators dashboards tests

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test check format lint types contracts campaign accuracy fuzz lock dashboards-preview clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@echo "rahdar: making $(VENV) with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "rahdar: Python 3.11 is needed; name it with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	@echo "rahdar: installing what the program needs (hash-checked; a few minutes the first time)"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "rahdar: installing what the tests need"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.runtime ## Make .venv with the program in it
setup-dev: $(VENV)/.dev ## ... and with the tools of development

demo: setup ## Broker, pipeline, simulated escorts and the desk on this machine; Ctrl-C ends it
	@$(BIN)/rahdar demo $(ARGS)

test: setup-dev ## All tests that can run here; lists what was skipped and why
	@$(BIN)/python -m tests $(ARGS)

check: format lint types contracts test ## Format, lint, types, import contracts, tests: what CI runs

format: setup-dev ## Is everything formatted?
	@$(BIN)/ruff format --check $(CODE)
lint: setup-dev ## ruff
	@$(BIN)/ruff check $(CODE)
types: setup-dev ## mypy, strict
	@$(BIN)/mypy
contracts: setup-dev ## Who may import whom
	@$(BIN)/lint-imports

campaign: setup-dev ## Long soaks, many kills, many seeds; writes a dated table under docs/campaigns
	@$(BIN)/python -m tests.campaign $(ARGS)

accuracy: setup-dev ## What the rules find and invent, over invented days; writes a dated table under docs/campaigns
	@$(BIN)/python -m tests.accuracy $(ARGS)

dashboards-preview: setup-dev ## Every panel's answer on a played story, one page a dashboard (needs influxd: deploy/influxdb/install.sh)
	@$(BIN)/python -m dashboards.preview

fuzz: setup-dev ## A million payloads over every format; resumes where it was stopped, writes a dated table under docs/campaigns
	@$(BIN)/python -m tests.normalise.fuzz $(ARGS)

lock: setup-dev ## Pin every dependency again, with hashes
	@$(PIP) install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml --group build -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml --group build --group dev -o requirements-dev.lock

clean: ## Remove what was built; the environment and recorded data stay
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
