"""The fast part of the suite on every Python, with its newest and lowest dependencies.

`python tests/support/matrix.py [PYTEST ARGUMENTS]` makes one environment for each row
of `ROWS` in `.matrix/` (kept, and brought up to date), runs the tests of `FAST` there,
or what pytest is asked for, and prints a table. Interpreters that are not on this
machine are named and skipped; none is downloaded.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".matrix"


class Row(NamedTuple):
    """A Python, and which of the versions that pyproject.toml allows it gets."""

    python: str
    resolution: str


ROWS = (
    Row("3.11", "highest"),
    Row("3.12", "highest"),
    Row("3.13", "highest"),
    Row("3.11", "lowest-direct"),
)
# Versions are told apart by what is called, not by how often: every module that leans
# on JAX, Flax, optax, SciPy or scikit-learn in its own way, in a few minutes.
FAST = (
    "theory/outputs/test_accuracy.py",
    "theory/numerics/test_blocks.py",
    "ntk_corrupt/networks/test_cnn.py",
    "theory/corruption/test_copies.py",
    "theory/corruption/test_corruptions.py",
    "theory/corruption/test_moments.py",
    "ntk_corrupt/data/test_built_in_sets.py",
    "ntk_corrupt/data/test_cifar.py",
    "ntk_corrupt/data/test_downloads.py",
    "ntk_corrupt/data/test_idx.py",
    "ntk_corrupt/data/test_loading.py",
    "ntk_corrupt/data/test_local.py",
    "ntk_corrupt/data/test_normalise.py",
    "ntk_corrupt/data/test_prepared.py",
    "ntk_corrupt/data/test_real_mnist.py",
    "ntk_corrupt/data/test_resizing.py",
    "ntk_corrupt/data/test_subsets.py",
    "theory/activations/test_duals.py",
    "theory/activations/test_dual_derivatives.py",
    "theory/activations/test_hermite.py",
    "theory/activations/test_registry.py",
    "ntk_corrupt/kernels/test_empirical.py",
    "theory/regression/test_equivalent.py",
    "theory/outputs/test_draws.py",
    "project/test_layering.py",
    "ntk_corrupt/networks/test_mlp.py",
    "ntk_corrupt/test_neural_tangents.py",
    "experiments/networks/curves/test_noise_gallery.py",
    "ntk_corrupt/test_plots.py",
    "theory/regression/test_poles.py",
    "theory/test_problem.py",
    "ntk_corrupt/rbm/test_machine.py",
    "experiments/harness/test_run_directory.py",
    "experiments/harness/test_runner.py",
    "theory/numerics/test_solve.py",
    "theory/kernels/test_split_kernels.py",
    "theory/outputs/test_storage.py",
    "ntk_corrupt/training/test_epochs.py",
)


def uv(*arguments, **options):
    """Runs uv, which is asked never to bring an interpreter of its own."""
    command = [sys.executable, "-m", "uv", *arguments, "--no-python-downloads"]
    return subprocess.run(command, cwd=ROOT, text=True, **options)


def interpreter(version):
    """The path of a Python of this version, on PATH or of pyenv; None if absent."""
    name = f"python{version}"
    kept = pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    kept = sorted(kept.glob(f"versions/{version}.*/bin/{name}"), reverse=True)
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    for path in (shutil.which(name), *kept):
        # a shim of pyenv may be there for an interpreter that is not
        if path and subprocess.run(
            [path, "-c", code], capture_output=True, text=True
        ).stdout.split() == [version]:
            return path
    return None


def prepare(row, python):
    """Makes the environment of a row; returns its interpreter, None if it failed."""
    folder = FOLDER / f"{row.python}-{row.resolution}"
    own = folder / "bin" / "python"
    if not own.exists() and uv("venv", "-q", "--python", python, folder).returncode:
        return None
    install = ["--upgrade", "--resolution", row.resolution, "--editable", ".[dev]"]
    done = uv("pip", "install", "-q", "--python", own, *install)
    return own if done.returncode == 0 else None


def versions(own):
    """The versions that decide most, in one line."""
    code = (
        "from importlib.metadata import version\n"
        "names = 'jax', 'flax', 'optax', 'numpy', 'scipy', 'scikit-learn'\n"
        "print(*(f'{name} {version(name)}' for name in names), sep=', ')"
    )
    run = subprocess.run([own, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def tested(own, arguments):
    """Runs the tests of a row; returns the counts that pytest ends with."""
    command = [own, "-m", "pytest", "-n", "2", "--dist", "worksteal", "-m", "not slow"]
    environment = {**os.environ, "PYTHONWARNINGS": ""}
    run = subprocess.Popen(
        [*command, "-q", *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert run.stdout is not None
    last = ""
    for line in run.stdout:
        print(line, end="", flush=True)
        last = line.strip() or last
    counts = re.findall(r"\d+ (?:passed|failed|errors?|skipped)", last)
    return run.wait(), ", ".join(counts) or last


def main(arguments):
    arguments = arguments or [f"tests/{name}" for name in FAST]
    lines, wrong = [], False
    for row in ROWS:
        name = f"Python {row.python}, {row.resolution}"
        python = interpreter(row.python)
        if python is None:
            lines.append(f"{name}: skipped, no such interpreter here")
            continue
        print(f"== {name}", flush=True)
        own = prepare(row, python)
        if own is None:
            lines.append(f"{name}: FAILED to install")
            wrong = True
            continue
        start = time.monotonic()
        code, counts = tested(own, arguments)
        minutes = (time.monotonic() - start) / 60
        state = "green" if code == 0 else "FAILED"
        lines.append(f"{name}: {state}, {counts}, {minutes:.1f} min; {versions(own)}")
        wrong |= code != 0
    print(*lines, sep="\n")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
