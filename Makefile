# Two lines a newcomer pastes: `make quickstart` and `make test`. Each installs what it needs into .venv, once.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
CODE := prm data_gen eval recipes tests
# Folders, not package names: data_gen/ and eval/ install inside `prm` and lie beside it.
COVERAGE := --cov=prm --cov=data_gen --cov=eval --cov-report=term:skip-covered

.PHONY: quickstart test test-full lint bench

quickstart: .venv/.installed
	$(BIN)/prm quickstart $(ARGS)

test: lint
	$(BIN)/pytest -n 2 -m "not slow and not gpu" $(COVERAGE) $(ARGS)

test-full: lint
	$(BIN)/pytest -n 2 -m "not gpu" $(COVERAGE) $(ARGS)

lint: .venv/.installed-dev
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy prm data_gen eval

# Our own claims of speed and cost, measured here: about an hour. Each prints a table and, last, one line of JSON.
bench: .venv/.installed-dev
	$(BIN)/python -m tests.benchmarks.label_cost
	$(BIN)/python -m tests.benchmarks.prefix_reuse
	$(BIN)/python -m tests.benchmarks.train_throughput
	$(BIN)/python -m tests.benchmarks.search_speed
	$(BIN)/python -m tests.benchmarks.curation_scale

# For models of about a million parameters one OpenMP thread beats two on a shared machine.
quickstart test test-full bench: export OMP_NUM_THREADS ?= 1

# The stamps are newer than pyproject.toml while the installation is what it asks for.
.venv/.installed: pyproject.toml | $(BIN)/python
	$(PIP) -e .
	touch $@

.venv/.installed-dev: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[dev]'
	touch $@ .venv/.installed

$(BIN)/python:
	$(PYTHON) -m venv .venv
