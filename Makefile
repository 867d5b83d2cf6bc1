# Everything below needs Python 3.11 or newer with pip, and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench load storm clean

# Installs the package and the development tools into .venv whenever pyproject.toml changed.
.venv/installed: pyproject.toml
	@echo "installing into .venv, which takes about half a minute" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[all]' --group dev
	@touch $@

# On a terminal: the demo with the devtools attached. Otherwise: one snapshot of the running demo.
demo: .venv/installed
	@$(BIN)/liverpc demo --port 0 --tui

test: .venv/installed
	$(BIN)/pytest -n 2 --dist worksteal

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy & mypy=$$!; $(BIN)/pyright; pyright=$$?; wait $$mypy && exit $$pyright
	$(BIN)/lint-imports

# Every scenario of the load tests for some seconds; whether everything is right, not how fast it is.
load: .venv/installed
	$(BIN)/python -m loadtest run --profile smoke

# 2,000 clients lose their connections at once, and then their server, with and without jitter in their back-off.
storm: .venv/installed
	$(BIN)/python -m loadtest run reconnect_storm --profile storm
	$(BIN)/python -m loadtest run reconnect_storm --profile storm --no-jitter
	$(BIN)/python -m loadtest run reconnect_storm --profile storm --cut server
	$(BIN)/python -m loadtest run reconnect_storm --profile storm --cut server --no-jitter

# Measurements beside other servers, printed and written to build/bench.json; see docs/benchmarks.md.
bench: .venv/installed
	-@$(BIN)/python -m pip install --quiet --group bench  # without them their rows say so
	$(BIN)/python -m tests.benchmarks
	$(BIN)/python -m tests.benchmarks.terminal

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
