# Two commands for a fresh machine: `make run` and `make test`. Everything installs into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# e.g. make run ARGS="--preset tiny --seed 3"
ARGS   ?=
# One more process of tests than there are cores: tests also wait, for servers and for processes that they kill.
WORKERS ?= $(shell $(PYTHON) -c "import os; print((os.cpu_count() or 1) + 1)")

# pip does not compile what it installs, most of which nobody imports: what is imported is compiled then, once, and kept, also where
# the environment says otherwise.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/pip install --quiet --no-compile

.PHONY: run test check doctor clean install install-dev

run: install
	$(BIN)/ludus run $(ARGS)

test: install-dev
	$(BIN)/pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(ARGS)

check: install-dev
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

doctor: install
	$(BIN)/ludus doctor

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "ludus needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/.python
	$(PIP) --constraint constraints.txt --editable '.[blocks]'
	$(BIN)/ludus do >/dev/null  # compiles what the commands import
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt $(VENV)/.python
	$(PIP) --constraint constraints.txt --editable '.[blocks,dev]'
	$(PIP) --no-deps dm-robotics-panda==0.4.8  # only its model, as a reference; its own pins are old
	touch $@ $(VENV)/.installed
