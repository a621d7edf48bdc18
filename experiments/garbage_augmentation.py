"""Do corrupted copies of clean training images help, or hurt, or only cost steps?

To a clean training set r times as many corrupted copies are added, with their labels,
drawn from the same images. Against the clean set alone, and against it for as many
steps as the larger set takes; accuracy on clean test images, repeat by repeat.

    python -m experiments.garbage_augmentation --workdir=results/garbage
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

import theory
from experiments import _mixtures, _networks, _runner, _settings
from experiments._runner import setting
from ntk_corrupt import plots
from ntk_corrupt.results import Cell, Row, RunDirectory
from theory.corrupted import stream
from theory.errors import InputError

BASE, MATCHED, ADDED = "clean", "clean, as many steps", "copies added"
# What is expected: no change larger than this; by so much p = 1 is below .2 at r = 8.
_CHANGE, _WORSE, _AT = 0.03, 0.02, 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Garbage(_networks.Networks):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting((0.2, 0.5, 0.9, 1.0), "corruption of the copies")
    ratios: tuple[int, ...] = setting((1, 4, 8), "copies added per clean image")
    noise_regime: str = setting("frozen", "frozen: the only one here")


PRESETS = {
    "smoke": {
        "n_train": 80,
        "n_test": 100,
        "p": (0.2, 1.0),
        "ratios": (1, 8),
        "repeats": 2,
        "width": 16,
        "epochs": 3,
    },
    "cpu": {},
    "mnist": {"dataset": "mnist", "n_train": 1000, "n_test": 2000},
    "paper": {
        "dataset": "mnist",
        "n_train": 30_000,
        "p": (0.1, 0.2, 0.5, 0.8, 0.9, 1.0),
        "ratios": (1, 2, 4, 8, 16, 32),
        "repeats": 10,
    },
}


def check(config: Garbage) -> None:
    """Raises `InputError` on bad settings."""
    _mixtures.check(config)
    if not config.ratios or min(config.ratios) < 1:
        raise InputError(f"`--ratios` must be at least 1, got {config.ratios}.")


def cells(config: Garbage) -> list[Cell]:
    """One cell for the clean set, one control per ratio, one per ratio and level."""
    asked = [(BASE, 0, 0.0)]
    for ratio in config.ratios:
        asked += [(MATCHED, ratio, 0.0), *((ADDED, ratio, p) for p in config.p)]
    return [
        Cell({**_networks.cell(config, p).settings, "arm": arm, "ratio": ratio})
        for arm, ratio, p in asked
    ]


def compute(config: Garbage, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: accuracies of the repeats."""
    settled = _settings.settled(config, cell)
    arm, ratio, p = (cell.settings[name] for name in ("arm", "ratio", "p"))
    found = []
    for repeat in range(settled.repeats):
        problem = _settings.problem(settled, repeat).astype(jnp.float32)
        x, labels, epochs = problem.x_train, problem.labels_train, settled.epochs
        n = len(labels)
        if arm == MATCHED:
            epochs = _mixtures.matched(settled, n, n * (1 + ratio))
        if arm == ADDED:
            chosen = np.random.default_rng((settled.seed, repeat)).integers(
                n, size=n * ratio
            )
            key = stream(_settings.corruption_key(settled, repeat), "copies")
            noise = _settings.corruption(settled, p)
            copies = theory.corrupt(noise, key, 0, x[chosen])
            x = jnp.concatenate([x, copies])
            labels = jnp.concatenate([labels, labels[chosen]])
        found.append(
            _mixtures.accuracy(
                settled, problem, x, labels, repeat=repeat, epochs=epochs
            )
        )
    return {"accuracies": found}, {"accuracies": np.array(found)}


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Changes against the clean set and against it for as many steps."""
    base = _mixtures.pick(rows, arm=BASE)
    assert base is not None
    levels = sorted({row["p"] for row in rows if row["arm"] == ADDED})
    ratios = sorted({row["ratio"] for row in rows if row["arm"] == ADDED})
    lines = ["", f"clean images alone: {np.mean(base['accuracies']):.3f}"]
    lines += ["", "change of accuracy by copies added, against the clean set"]
    head = "".join(f"{f'p = {p:g}':>16}" for p in levels)
    lines.append(f"{'copies':>7}" + head + f"{'clean, matched':>16}")
    for ratio in ratios:
        added = [_mixtures.pick(rows, arm=ADDED, ratio=ratio, p=p) for p in levels]
        control = _mixtures.pick(rows, arm=MATCHED, ratio=ratio)
        lines.append(
            f"{ratio:>7}"
            + "".join(
                _mixtures.text(*_mixtures.gain(row, base)) if row else f"{'-':>16}"
                for row in (*added, control)
            )
        )
    lines += [
        "",
        "the same, against the clean set for as many steps",
        f"{'copies':>7}{head}",
    ]
    for ratio in ratios:
        control = _mixtures.pick(rows, arm=MATCHED, ratio=ratio)
        added = [_mixtures.pick(rows, arm=ADDED, ratio=ratio, p=p) for p in levels]
        lines.append(
            f"{ratio:>7}"
            + "".join(
                _mixtures.text(*_mixtures.gain(row, control))
                for row in added
                if row and control
            )
        )
    return "\n".join([*lines, *_expected(rows, base), ""])


def _expected(rows: Sequence[Row], base: Row) -> list[str]:
    added = [row for row in rows if row["arm"] == ADDED]
    largest = max((_mixtures.gain(row, base)[0] for row in added), key=abs)
    said = f"no change beyond {_CHANGE}, the largest"
    lines = ["", _mixtures.verdict(said, largest, abs(largest) <= _CHANGE)]
    pure, little = (_mixtures.pick(rows, arm=ADDED, ratio=_AT, p=p) for p in (1.0, 0.2))
    if pure and little:
        value = _mixtures.gain(pure, little)[0]
        said = f"{_AT} copies: p = 1 below p = .2 by {_WORSE}"
        lines.append(_mixtures.verdict(said, value, value <= -_WORSE))
    return lines


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Accuracy over the number of copies for each level, with the control."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = fig.subplots()
    base = _mixtures.pick(rows, arm=BASE)
    groups = [(f"p = {p:g}", {"arm": ADDED, "p": p}) for p in sorted(
        {row["p"] for row in rows if row["arm"] == ADDED}
    )]  # fmt: skip
    groups.append(("clean, as many steps", {"arm": MATCHED}))
    for (label, asked), colour in zip(groups, plots.PALETTE * 3, strict=False):
        found = [
            row for row in rows if all(row[name] == v for name, v in asked.items())
        ]
        values = np.array([row["accuracies"] for row in found])
        error = values.std(axis=1, ddof=min(1, values.shape[1] - 1))
        ax.errorbar(
            [row["ratio"] for row in found], values.mean(axis=1),
            yerr=error / values.shape[1] ** 0.5, marker="o", capsize=2.0,
            label=label, color=colour,
            linestyle="--" if asked["arm"] == MATCHED else "-",
        )  # fmt: skip
    if base:
        ax.axhline(
            np.mean(base["accuracies"]), linestyle=":", color="0.4", label="clean alone"
        )
    ax.set(xlabel="corrupted copies per clean image", ylabel="test accuracy")
    ax.legend(fontsize="small")
    row = rows[0]
    ax.set_title(f"{row['dataset']}, {row['n_train']} images ({row['normalise']})")
    return fig


EXPERIMENT = _runner.Experiment(
    name="garbage_augmentation",
    config=Garbage,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=table,
    figure=figure,
    estimate=_networks.estimate,
)


if __name__ == "__main__":
    _runner.main(EXPERIMENT)
