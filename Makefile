# Everything below needs Python 3.11 or newer with pip, and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench clean

# Installs the package and the development tools into .venv whenever pyproject.toml changed.
.venv/installed: pyproject.toml
	@echo "installing into .venv" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@

# On a terminal: the demo with the devtools attached. Otherwise: one snapshot of the running demo.
demo: .venv/installed
	@$(BIN)/liverpc demo --port 0 --tui

test: .venv/installed
	$(BIN)/pytest

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

# Measurements, printed as ratios within one run; nothing is asserted.
bench: .venv/installed
	$(BIN)/pytest -m bench --override-ini=addopts= --timeout=600 -s tests/benchmarks

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
