"""Damages files at random, reads them, and counts what comes of it.

    python tests/fuzz/files.py --seed=0 --count=300

right     the value is that of the undamaged file, or its cell is computed again
said      another value of contents that a line calls unknown
refused   one line that names the file, and what to do
nameless, foreign, silent, computed over: these must not be, and are printed

Rows, arrays and laws of older versions have no checksum, and are not damaged here.
"""

import argparse
import collections
import contextlib
import dataclasses
import hashlib
import io
import logging
import pathlib
import pickle
import sys
import tempfile
from collections.abc import Callable
from typing import Any
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
if __name__ == "__main__":  # pytest knows these
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import damages
import data_files
import fake_experiment
import jax
import jax.numpy as jnp
import numpy as np

import theory
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from ntk_corrupt import data
from ntk_corrupt.data import cifar, contents

BAD = ("nameless", "foreign", "silent", "computed over")


@dataclasses.dataclass(frozen=True)
class Subject:
    """Files of one kind: how to write them into a folder, and how to read them."""

    name: str
    write: Callable[[pathlib.Path], Any]
    read: Callable[[pathlib.Path], Any]


def _law(cls=theory.OutputLaw, **parts):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 3, 3))
    return cls(
        mean=jnp.asarray(rng.normal(size=(5, 3))),
        cov=jnp.asarray(root @ root.swapaxes(1, 2)),
        init_var=jnp.asarray(rng.random(5)),
        diagnostics={"margin": 0.3, "doubts": ("too few pixels",), "at": np.ones(2)},
        **parts,
    )


def _first_order():
    parts = {"gain": jnp.ones((5, 3)), "offset": jnp.ones((5, 3))}
    return _law(theory.FirstOrderLaw, noise_std=jnp.ones(5), cross=None, **parts)


def _draws():
    outputs = jnp.asarray(np.random.default_rng(0).normal(size=(2, 1, 5, 3)))
    keys = jnp.ones((2, 2), jnp.uint32)
    return theory.Draws(outputs=outputs, init_var=jnp.ones((2, 5)), draw_keys=keys)


def _record(cls, make):
    def read(folder):
        return cls.load(folder / "record.npz")

    return lambda folder: make().save(folder / "record.npz"), read


def _sums(folder):
    """Checksums of one's own, so that all damage can be told."""
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
    ]
    (folder / contents.SUMS).write_text("".join(sums))


def _write_idx(folder, gz, sums):
    data_files.write_idx(folder, data_files.small_set(), gz=gz)
    if sums:
        _sums(folder)


def _read_set(name):
    return lambda folder: data.load(name, data_dir=folder, normalise="unit")


def _write_cifar(folder, pickled):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (6, 20, 3, 32, 32), np.uint8)
    labels = np.tile(np.arange(20, dtype=np.uint8) % 10, (6, 1))
    if not pickled:
        data_files.write_binary(folder, pixels, labels)
        _sums(folder)
        return
    for name, batch, of in zip(cifar.FILES, pixels, labels, strict=True):
        content = {b"data": batch.reshape(20, -1), b"labels": of.tolist()}
        path = folder / name.removesuffix(".bin")
        path.write_bytes(pickle.dumps(content, protocol=2))


def _run(folder):
    """Runs the fake experiment; its rows without timings, its arrays, and its table."""
    fake_experiment.calls.clear()
    table = io.StringIO()
    config = fake_experiment.Config(p=(0.5, 0.9, 1.0))
    with contextlib.redirect_stdout(table), contextlib.redirect_stderr(io.StringIO()):
        rows = runner.execute(fake_experiment.EXPERIMENT, config, workdir=folder)
    arrays = [RunDirectory(folder).arrays(row) for row in rows]
    return [{**row, "seconds": 0} for row in rows], arrays, table.getvalue()


SUBJECTS = (
    Subject("law", *_record(theory.OutputLaw, _law)),
    Subject("law of first_order", *_record(theory.FirstOrderLaw, _first_order)),
    Subject("draws", *_record(theory.Draws, _draws)),
    Subject("idx", lambda to: _write_idx(to, False, True), _read_set("mnist")),
    Subject("idx.gz", lambda to: _write_idx(to, True, False), _read_set("kmnist")),
    Subject("cifar", lambda to: _write_cifar(to, False), _read_set("cifar10")),
    Subject("cifar pickles", lambda to: _write_cifar(to, True), _read_set("cifar10")),
    Subject("run", _run, _run),
    Subject("run", _run, _run),
)


class _Said(logging.Handler):
    """Whether a line named unknown contents."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def _same(one, two):
    leaves, structure = jax.tree.flatten(one)
    others, other = jax.tree.flatten(two)
    pairs = [map(np.asarray, pair) for pair in zip(leaves, others, strict=False)]
    return structure == other and all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in pairs
    )


def _lost(folder):
    """Whether a run directory has cells no more: these are computed again."""
    metrics, arrays = folder / "metrics.jsonl", folder / "arrays"
    *rows, _torn = metrics.read_bytes().split(b"\n") if metrics.is_file() else [b""]
    return (
        len(set(rows)) < 3 or sum(path.is_file() for path in arrays.glob("*.npz")) < 3
    )


def outcome(subject, folder, expected):
    """Reads the damaged files, and says what came of it, and the words."""
    said, lost = _Said(), _lost(folder)
    contents._say.cache_clear()
    logger = logging.getLogger("ntk_corrupt")
    logger.addHandler(said)
    logger.propagate = False
    fake_experiment.calls.clear()
    try:
        found = subject.read(folder)
    except (theory.InputError, theory.NumericalError) as error:
        text = str(error)
        named = str(folder) in text and "\n" not in text
        return "refused" if named else "nameless", text
    except Exception as error:  # a traceback is what is looked for
        return "foreign", f"{type(error).__name__}: {error}"
    finally:
        logger.removeHandler(said)
        logger.propagate = True
    if not _same(found, expected):
        return ("said" if said.lines else "silent"), "other values"
    if subject.name == "run" and fake_experiment.calls and not lost:
        return "computed over", f"cells {fake_experiment.calls}"
    return "right", ""


def fuzz(seed, count, report=print):
    """Damages `count` times, and counts outcomes by subject.

    Returns:
        The counts, by (subject, outcome).
    """
    with (
        tempfile.TemporaryDirectory() as top,
        mock.patch.object(cifar, "_RECORDS", 20),
        mock.patch.object(runner, "_draw"),  # figures are not read
    ):
        return _fuzz(np.random.default_rng(seed), count, pathlib.Path(top), report)


def _fuzz(rng, count, top, report):
    counts, expected, damaged = collections.Counter(), {}, top / "damaged"
    for subject in SUBJECTS:
        whole = top / subject.name
        if subject.name not in expected:
            whole.mkdir()
            subject.write(whole)
            expected[subject.name] = subject.read(whole)
    for number in range(count):
        subject = SUBJECTS[rng.integers(len(SUBJECTS))]
        damages.restored(damaged, top / subject.name)
        files = sorted(path for path in damaged.rglob("*") if _read_at_all(path))
        how, name = damages.damage(rng, files)
        result, text = outcome(subject, damaged, expected[subject.name])
        counts[subject.name, result] += 1
        if result in BAD:
            report(f"{number} {subject.name}: {result}: {how} {name}: {text}")
    return counts


def _read_at_all(path):
    return path.is_file() and path.name not in (".lock", "environment.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300)
    asked = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    counts = fuzz(asked.seed, asked.count)
    print(f"seed {asked.seed}, {asked.count} damages")
    outcomes = ("right", "said", "refused", *BAD)
    print(f"{'':20}" + "".join(f"{name:>14}" for name in outcomes))
    for name in dict.fromkeys(subject.name for subject in SUBJECTS):
        print(f"{name:20}" + "".join(f"{counts[name, o]:>14}" for o in outcomes))
    total = collections.Counter()
    for (_, result), number in counts.items():
        total[result] += number
    print(f"{'all':20}" + "".join(f"{total[o]:>14}" for o in outcomes))
    sys.exit(any(total[name] for name in BAD))


if __name__ == "__main__":
    main()
