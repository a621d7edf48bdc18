"""Notebooks: in step with their sources, without outputs, and run at small size."""

import importlib.metadata
import os
import subprocess

import jax
import jupyter_client
import jupytext
import nbclient
import nbformat
import pytest
from checkout import ROOT
from install_cell import CELL

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


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_a_notebook_begins_by_installing_what_is_missing(path):
    code = [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    assert code[0].source == CELL, "`make notebooks` writes it"
    assert "find_spec" not in path.read_text()


def installing(monkeypatch, folder, status=0):
    """What the first cell has pip install, in a folder, where nothing is installed."""
    calls = []

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    def pip(command, **options):
        calls.append(command)
        said = b"WARNING: retried\nERROR: none\nERROR: no such host\n\x1b[0m"
        return subprocess.CompletedProcess(command, status, b"", said)

    monkeypatch.chdir(folder)
    monkeypatch.setattr(importlib.metadata, "version", absent)
    monkeypatch.setattr(subprocess, "run", pip)
    exec(compile(CELL, "cell", "exec"), {})
    (command,) = calls
    assert command[1:4] == ["-m", "pip", "install"]
    return command[6:]


def test_a_checkout_a_wheel_or_the_name_is_installed(monkeypatch, tmp_path, capsys):
    inner = tmp_path / "notebooks"
    inner.mkdir()
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib")}
    *kept, source = installing(monkeypatch, inner)
    assert source == "ntk-corrupt"
    # JAX and what comes with it are asked for as they are
    assert {f"{name}=={version}" for name, version in versions.items()} <= set(kept)
    assert all(name.startswith(("jax", "libtpu")) for name in kept)
    assert not any(name.startswith("jaxtyping") for name in kept)
    assert str(jax.devices()[0].device_kind) in capsys.readouterr().out
    for version in ("0.2.0", "0.3.0"):
        (inner / f"ntk_corrupt-{version}-py3-none-any.whl").touch()
    assert installing(monkeypatch, inner)[-1].endswith("0.3.0-py3-none-any.whl")
    beside = inner / "clone" / "ntk_corrupt"
    beside.mkdir(parents=True)
    (beside / "__init__.py").touch()
    assert installing(monkeypatch, inner)[-1] == str(beside.parent)
    around = tmp_path / "ntk_corrupt"
    around.mkdir()
    (around / "__init__.py").touch()
    assert installing(monkeypatch, inner)[-1] == str(tmp_path)


def test_what_cannot_be_installed_is_said_in_one_line(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="wheel .* no such host$") as end:
        installing(monkeypatch, tmp_path, status=1)
    assert "\n" not in str(end.value)


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


# These take long, and what they call is called elsewhere: by the example of the README,
# by tests of metrics and of kernels of stacks, by tests of the linearised ensembles.
WEEKLY = ("01", "02", "06")
RUN = [
    pytest.param(path, marks=[pytest.mark.slow] * path.stem.startswith(WEEKLY))
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
