# make demo | test | test-all | portable | portable-one | matrix | lint | notebooks |
# run-notebooks | wheel | bench | constraints. Each makes .venv first, and installs when
# pyproject.toml or constraints.txt is newer than it. PYTHON chooses the interpreter of a
# new .venv. Versions are those of constraints.txt, which the suite was last green with;
# UNPINNED=1 takes the newest that pyproject.toml allows.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed$(if $(UNPINNED),-unpinned)
PINS := $(if $(UNPINNED),,--constraints constraints.txt)
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test test-all portable portable-one matrix lint format notebooks
.PHONY: run-notebooks wheel bench constraints clean

demo: $(INSTALLED)
	$(BIN)/python -m experiments.accuracy_curve --size=28 --rates=adam \
	  --routes=first_order,resummed,exact,lazy,network --workdir=results/demo

test: $(INSTALLED)
	$(PYTEST) -m "not slow"

# What takes minutes too, compiled as for users: once a week.
test-all: $(INSTALLED)
	$(PYTEST) --optimised

# As other processors would compute it: each instruction set and BLAS kernel that this
# one can run, or the one that is furthest from its own.
portable: $(INSTALLED)
	$(BIN)/python tests/support/portable.py

portable-one: $(INSTALLED)
	$(BIN)/python tests/support/portable.py --one

# On other versions: Python 3.11 to 3.13, newest and lowest dependencies.
matrix: $(INSTALLED)
	$(BIN)/python tests/support/matrix.py

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

# As a reader would, at full size.
run-notebooks: $(INSTALLED)
	$(BIN)/python -m pytest -p no:xdist --nbmake --nbmake-timeout=3600 notebooks

# Builds the wheel and imports both packages from it, outside the checkout.
wheel: $(INSTALLED)
	$(BIN)/python tests/support/wheel.py

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python -m benchmarks.ensembles

# After a green `make UNPINNED=1 test`: names and versions of what is installed.
constraints: $(INSTALLED)
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable \
	  | grep -v -E '^(pip|setuptools)==' > constraints.txt
	@touch $(INSTALLED)

clean:
	rm -rf $(VENV) .matrix

# uv reads [tool.uv] of pyproject.toml, which keeps TensorFlow out (1.8 GB that
# nothing here imports); plain `pip install .` works too and brings it in. Compiled at
# once: where Python may not write bytecode, every process would do it, in 2.5 s.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "ntk-corrupt needs Python 3.11 or newer, and $(PYTHON) is %d.%d: choose another with `make PYTHON=python3.12 ...`" % v[:2])'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(PINS) --compile-bytecode --editable ".[dev]"
	@touch $@
