# make demo | test | test-all | portable | portable-one | matrix | lint | notebooks |
# run-notebooks | gallery | explorer | docs | docs-serve | dist | bench | constraints. Each makes
# its environment first, .venv or for docs .venv-tools, and installs when
# pyproject.toml or constraints.txt is newer than it. PYTHON chooses the interpreter of a
# new .venv. Versions are those of constraints.txt, which the suite was last green with;
# UNPINNED=1 takes the newest that pyproject.toml allows.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed$(if $(UNPINNED),-unpinned)
PINS := $(if $(UNPINNED),,--constraints constraints.txt)
# For what works on the checkout as text: without JAX, and apart from what is tested.
TOOLS := .venv-tools
TOOLS_INSTALLED := $(TOOLS)/.installed$(if $(UNPINNED),-unpinned)
GALLERY := $(patsubst notebooks/%,build/gallery/%,$(wildcard notebooks/*.ipynb))
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test test-all portable portable-one matrix lint format notebooks
.PHONY: run-notebooks gallery explorer docs docs-serve dist bench constraints clean

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

# From their py:percent sources, which begin with one and the same cell; without outputs.
notebooks: $(INSTALLED)
	$(BIN)/python tests/support/install_cell.py
	$(BIN)/jupytext --update --to ipynb notebooks/*.py

# As a reader would, at full size.
run-notebooks: $(INSTALLED)
	$(BIN)/python -m pytest -p no:xdist --nbmake --nbmake-timeout=3600 notebooks

# With outputs, for the site: each that has changed. Minutes, and nothing of it is
# committed.
gallery: $(GALLERY)

build/gallery/%.ipynb: notebooks/%.ipynb | $(INSTALLED)
	@mkdir -p $(@D)
	cp $< $(@D)/part-$(@F)
	$(BIN)/jupyter-execute --inplace $(@D)/part-$(@F)
	mv $(@D)/part-$(@F) $@

# The tables of the explorer, which are committed: twenty minutes, busy.
explorer: $(INSTALLED)
	PYTHONPATH=. $(BIN)/python docs/site/explorer_tables.py

# The site, in build/site, with the outputs of `make gallery` where they are. A broken
# link or a public name without a docstring is an error: of a warning that --quiet leaves
# out, --strict would not know.
docs: $(TOOLS_INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(TOOLS)/bin/mkdocs build

# At http://127.0.0.1:8000, built again when a file changes.
docs-serve: $(TOOLS_INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(TOOLS)/bin/mkdocs serve

# Builds wheel and sdist into dist/, and uses the wheel on two Pythons, outside the checkout.
dist: $(INSTALLED) $(TOOLS_INSTALLED)
	$(BIN)/python tests/support/dist.py

# Ours | peer | floor, of all that has a peer; the other benchmarks are in their README.
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.summary

# After a green `make UNPINNED=1 test`: names and versions of what is installed.
constraints: $(INSTALLED) $(TOOLS_INSTALLED)
	for python in $(BIN)/python $(TOOLS)/bin/python; do \
	  $(BIN)/uv pip freeze --python $$python --exclude-editable; done \
	  | grep -v -E '^(pip|setuptools)==' | LC_ALL=C sort -u -t= -k1,1 > constraints.txt
	@touch $(INSTALLED) $(TOOLS_INSTALLED)

clean:
	rm -rf $(VENV) $(TOOLS) .matrix build dist

# uv reads [tool.uv] of pyproject.toml, which keeps TensorFlow out (1.8 GB that
# nothing here imports); plain `pip install .` works too and brings it in. Compiled at
# once: where Python may not write bytecode, every process would do it, in 2.5 s.
$(INSTALLED): pyproject.toml constraints.txt
	$(call environment,$(VENV))
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(PINS) --compile-bytecode --editable ".[dev]"
	@touch $@

$(TOOLS_INSTALLED): pyproject.toml constraints.txt
	$(call environment,$(TOOLS))
	$(TOOLS)/bin/uv pip install --quiet --python $(TOOLS)/bin/python $(PINS) --group docs --group release
	@touch $@

define environment
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "ntk-corrupt needs Python 3.11 or newer, and $(PYTHON) is %d.%d: choose another with `make PYTHON=python3.12 ...`" % v[:2])'
	$(PYTHON) -m venv --clear $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
endef
