# make demo | test | lint | notebooks | bench. Each makes .venv first, and installs when
# pyproject.toml is newer than it. PYTHON chooses the interpreter of a new .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint format notebooks bench clean

demo: $(INSTALLED)
	$(BIN)/python -m experiments.accuracy_curve --size=28 --workdir=results/demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# From their py:percent sources, without outputs.
notebooks: $(INSTALLED)
	$(BIN)/jupytext --update --to ipynb notebooks/*.py

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python -m benchmarks.ensembles

clean:
	rm -rf $(VENV)

# uv reads [tool.uv] of pyproject.toml, which keeps TensorFlow out (1.8 GB that
# nothing here imports); plain `pip install .` works too and brings it in.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "ntk-corrupt needs Python 3.11 or newer, and $(PYTHON) is %d.%d: choose another with `make PYTHON=python3.12 ...`" % v[:2])'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable ".[dev]"
	@touch $@
