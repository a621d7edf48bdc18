"""Corrupted images added to clean ones: settings, cells, table, figure."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

import theory
from experiments.harness.flags import setting
from experiments.harness.run_directory import Cell, Row, RunDirectory
from experiments.networks.mixtures import arms
from experiments.shared import intervals, settings, tables, trained, verdicts
from experiments.shared.verdicts import Expected
from ntk_corrupt import plots
from theory.errors import InputError
from theory.keys import stream

BASE, MATCHED, ADDED = "clean", "clean, as many steps", "copies added"
# What is expected: no change larger than this; by so much p = 1 is below .2 at r = 8.
_CHANGE, _WORSE, _AT = 0.03, 0.02, 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Garbage(arms.Mixtures):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting((0.2, 0.5, 0.9, 1.0), "corruption of the copies")
    ratios: tuple[int, ...] = setting((1, 4, 8), "copies added per clean image")


def check(config: Garbage) -> None:
    """Raises `InputError` on bad settings."""
    trained.check(config)
    if not config.ratios or min(config.ratios) < 1:
        raise InputError(f"`--ratios` must be at least 1, got {config.ratios}.")


def cells(config: Garbage) -> list[Cell]:
    """One cell for the clean set, one control per ratio, one per ratio and level."""
    asked = [(BASE, 0, 0.0)]
    for ratio in config.ratios:
        asked += [(MATCHED, ratio, 0.0), *((ADDED, ratio, p) for p in config.p)]
    return [
        Cell({**trained.cell(config, p).settings, "arm": arm, "ratio": ratio})
        for arm, ratio, p in asked
    ]


def estimate(config: Garbage, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    return trained.estimate(config, cell) * (1 + cell.settings["ratio"])


def compute(config: Garbage, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: accuracies of the repeats."""
    settled = settings.settled(config, cell)
    arm, ratio, p = (cell.settings[name] for name in ("arm", "ratio", "p"))
    found = []
    for repeat in range(settled.repeats):
        problem = settings.problem(settled, repeat).astype(jnp.float32)
        x, labels, epochs = problem.x_train, problem.labels_train, settled.epochs
        n = len(labels)
        if arm == MATCHED:
            epochs = arms.matched(settled, n, n * (1 + ratio))
        if arm == ADDED:
            chosen = np.random.default_rng((settled.seed, repeat)).integers(
                n, size=n * ratio
            )
            key = stream(settings.corruption_key(settled, repeat), "copies")
            noise = settings.corruption(settled, p)
            copies = theory.corrupt(noise, key, 0, x[chosen])
            x = jnp.concatenate([x, copies])
            labels = jnp.concatenate([labels, labels[chosen]])
        found.append(
            arms.accuracy(settled, problem, x, labels, repeat=repeat, epochs=epochs)
        )
    return {"accuracies": found}, {"accuracies": np.array(found)}


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Changes against the clean set and against it for as many steps."""
    base = tables.pick(rows, arm=BASE)
    assert base is not None
    levels = sorted({row["p"] for row in rows if row["arm"] == ADDED})
    ratios = sorted({row["ratio"] for row in rows if row["arm"] == ADDED})
    lines = ["", f"clean images alone: {np.mean(base['accuracies']):.3f}"]
    lines += ["", "change of accuracy by copies added, against the clean set"]
    head = "".join(f"{f'p = {p:g}':>16}" for p in levels)
    lines.append(f"{'copies':>7}" + head + f"{'clean, matched':>16}")
    for ratio in ratios:
        added = [tables.pick(rows, arm=ADDED, ratio=ratio, p=p) for p in levels]
        control = tables.pick(rows, arm=MATCHED, ratio=ratio)
        lines.append(
            f"{ratio:>7}"
            + "".join(
                _text(row, base) if row else f"{'-':>16}" for row in (*added, control)
            )
        )
    lines += [
        "",
        "the same, against the clean set for as many steps",
        f"{'copies':>7}{head}",
    ]
    for ratio in ratios:
        control = tables.pick(rows, arm=MATCHED, ratio=ratio)
        added = [tables.pick(rows, arm=ADDED, ratio=ratio, p=p) for p in levels]
        lines.append(
            f"{ratio:>7}"
            + "".join(_text(row, control) for row in added if row and control)
        )
    return "\n".join([*lines, *verdicts.lines(expected(rows, base)), ""])


def expected(rows: Sequence[Row], base: Row) -> list[Expected]:
    """How little copies should change."""
    added = [row for row in rows if row["arm"] == ADDED]
    changes = [tables.change(row, base) for row in added]
    largest = max(changes, key=lambda change: abs(change.mean()))
    found = [
        Expected(what="the largest change", own=largest, least=-_CHANGE, most=_CHANGE)
    ]
    pure, little = (tables.pick(rows, arm=ADDED, ratio=_AT, p=p) for p in (1.0, 0.2))
    if pure and little:
        own = tables.change(pure, little)
        what = f"{_AT} copies: p = 1 less p = .2"
        found.append(Expected(what=what, own=own, most=-_WORSE))
    return found


def _text(row: Row, reference: Row) -> str:
    return tables.number(*tables.gain(row, reference), width=9, sign="+")


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Accuracy over the number of copies for each level, with the control."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = fig.subplots()
    base = tables.pick(rows, arm=BASE)
    groups = [(f"p = {p:g}", {"arm": ADDED, "p": p}) for p in sorted(
        {row["p"] for row in rows if row["arm"] == ADDED}
    )]  # fmt: skip
    groups.append(("clean, as many steps", {"arm": MATCHED}))
    for (label, asked), colour in zip(groups, plots.PALETTE * 3, strict=False):
        found = [
            row for row in rows if all(row[name] == v for name, v in asked.items())
        ]
        values = np.array([row["accuracies"] for row in found])
        mean, error = intervals.mean_error(values.T)
        ax.errorbar(
            [row["ratio"] for row in found], mean, yerr=error, marker="o", capsize=2.0,
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
