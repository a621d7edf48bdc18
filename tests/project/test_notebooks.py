"""Notebooks: in step with their sources, without outputs, and run at small size."""

import os

import jupyter_client
import jupytext
import nbclient
import nbformat
import pytest
from checkout import ROOT

FOLDER = ROOT / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))
NAMES = [path.stem for path in SOURCES]
# What a kernel that has run another notebook must forget.
FORGET = """
%reset -f
import jax
import matplotlib.pyplot
matplotlib.pyplot.rcdefaults()
jax.config.update("jax_enable_x64", False)
%reset -f
"""


def test_there_are_notebooks_and_no_others():
    assert NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_a_notebook_holds_its_source_and_no_output(path):
    source, notebook = jupytext.read(path), jupytext.read(path.with_suffix(".ipynb"))
    cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
    assert cells == [(cell.cell_type, cell.source) for cell in source.cells]
    assert not any(cell.get("outputs") for cell in notebook.cells)


def run(path, folder, kernel=None):
    """Runs a notebook, and expects a printed accuracy and a picture."""
    notebook = jupytext.read(path.with_suffix(".ipynb"))
    if kernel is not None:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(FORGET))
    client = nbclient.NotebookClient(
        notebook, kernel, timeout=300, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    outputs = [each for cell in notebook.cells for each in cell.get("outputs", [])]
    assert "accuracy" in "".join(each.get("text", "") for each in outputs)
    assert any("image/png" in each.get("data", {}) for each in outputs)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A kernel that imports once what all notebooks do."""
    manager = jupyter_client.KernelManager(
        kernel_name="python3",
        client_class="jupyter_client.asynchronous.AsyncKernelClient",
    )
    manager.start_kernel(
        cwd=str(tmp_path_factory.mktemp("notebooks")),
        env={**os.environ, "NTK_CORRUPT_SMOKE": "1"},
    )
    yield manager
    manager.shutdown_kernel()


# The first takes long, and what it calls is called by the example of the README.
RUN = [
    pytest.param(path, marks=[pytest.mark.slow] * path.stem.startswith("01"))
    for path in SOURCES
]


@pytest.mark.parametrize("path", RUN, ids=NAMES)
def test_a_notebook_runs(path, shared, tmp_path):
    run(path, tmp_path, shared)


@pytest.mark.slow  # weekly: as a reader runs it, in a kernel of its own
@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_a_notebook_runs_alone(path, monkeypatch, tmp_path):
    monkeypatch.setenv("NTK_CORRUPT_SMOKE", "1")
    run(path, tmp_path)
