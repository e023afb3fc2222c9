# `make sync` and `make test` need nothing but Python 3.11 and this folder.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PORT ?= 3000

# How long `make campaign` is: examples of so many steps, half of each API, and kills at each of its seven or eight moments.
EXAMPLES ?= 100
STEPS ?= 12
KILLS ?= 8
# Into which warehouse: duckdb, postgres or filesystem.
WAREHOUSE ?= duckdb

# Dozens of processes import the same modules: let the first one keep what it has compiled.
test docs campaign: export PYTHONDONTWRITEBYTECODE :=

# How long `make bench` is: which peers (all if empty), rounds of each, and records of the API.
PEERS ?=
ROUNDS ?= 3
RECORDS ?= 37500

.PHONY: help sync dev test docs campaign lint format bench lock clean

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile

.venv/installed: requirements.lock pyproject.toml
	@echo "Setting up .venv (about a minute) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

sync: .venv/installed ## Set up, load all resources from the configured CRM, print what landed
	$(BIN)/crm-assets sync

dev: .venv/installed ## Open the Dagster UI on http://127.0.0.1:3000, or on PORT
	$(BIN)/crm-assets dev --port $(PORT)

test: .venv/installed ## Run the tests
	$(BIN)/python -m pytest

docs: .venv/installed ## Run all that the documentation shows, in fresh copies with empty homes
	$(BIN)/python -m pytest --numprocesses 2 -m thorough crm_assets_tests/documentation

campaign: .venv/installed ## Faults, kills and changes at random, for long: EXAMPLES, STEPS and KILLS say how long
	CAMPAIGN_EXAMPLES=$(EXAMPLES) CAMPAIGN_STEPS=$(STEPS) CAMPAIGN_KILLS=$(KILLS) CAMPAIGN_TALLY=campaign.json \
	  CAMPAIGN_KILLED=kills.jsonl CAMPAIGN_EDGES=edges.json CAMPAIGN_WAREHOUSE=$(WAREHOUSE) \
	  $(BIN)/python -m pytest --numprocesses 2 --dist loadfile crm_assets_tests/test_campaign.py crm_assets_tests/test_kill.py \
	  crm_assets_tests/test_edges.py
	$(BIN)/python -m pytest -m thorough --ignore crm_assets_tests/deploy
	$(BIN)/python -m pytest --numprocesses 0 -m thorough crm_assets_tests/deploy # machines need all there is
	cat campaign.json edges.json kills.jsonl

lint: .venv/installed ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed ## Write the code as the linter wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed ## Measure the project beside its peers: PEERS=floor,dlt for a few, ROUNDS and RECORDS
	$(BIN)/python -m benchmarks.bench --peers '$(PEERS)' --rounds $(ROUNDS) --records $(RECORDS)

lock: .venv/installed ## Write requirements.lock anew from pyproject.toml: versions and hashes, no addresses
	$(BIN)/uv pip compile pyproject.toml --quiet --extra dev --extra ui --generate-hashes --no-header --no-emit-index-url \
	  --no-emit-find-links --universal --python-version 3.11 --upgrade --output-file requirements.lock

clean: ## Remove what can be made again: the environment and builds. The warehouse and the history of runs stay
	rm -rf .venv benchmarks/.venvs build campaign.json edges.json kills.jsonl *.egg-info
