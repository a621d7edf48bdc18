"""Notebooks: in step with their sources, without outputs, and run at small size."""

import pathlib

import jupytext
import nbclient
import pytest

FOLDER = pathlib.Path(__file__).parent.parent / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))
NAMES = [path.stem for path in SOURCES]


def test_there_are_notebooks_and_no_others():
    assert NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_a_notebook_holds_its_source_and_no_output(path):
    source, notebook = jupytext.read(path), jupytext.read(path.with_suffix(".ipynb"))
    cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
    assert cells == [(cell.cell_type, cell.source) for cell in source.cells]
    assert not any(cell.get("outputs") for cell in notebook.cells)


# The first takes a minute, and what it calls is called by the example of the README.
RUN = [
    pytest.param(path, marks=[pytest.mark.slow] * path.stem.startswith("01"))
    for path in SOURCES
]


@pytest.mark.parametrize("path", RUN, ids=NAMES)
def test_a_notebook_runs(path, monkeypatch, tmp_path):
    monkeypatch.setenv("NTK_CORRUPT_SMOKE", "1")
    notebook = jupytext.read(path.with_suffix(".ipynb"))
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [each for cell in notebook.cells for each in cell.get("outputs", [])]
    assert "accuracy" in "".join(each.get("text", "") for each in outputs)
    assert any("image/png" in each.get("data", {}) for each in outputs)
