"""Clean images among corrupted ones: settings, cells, table, figure."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from experiments.harness.flags import setting
from experiments.harness.run_directory import Cell, Row, RunDirectory
from experiments.networks.mixtures import arms
from experiments.shared import intervals, settings, tables, trained, verdicts
from experiments.shared.verdicts import Expected
from ntk_corrupt import plots
from theory.errors import InputError

ALONE, MATCHED, MIXED, ALL = "alone", "alone, as many steps", "mixed", "all clean"
# What is expected at a share of .05: at least so much is gained up to these levels.
_SHARE, _GAINS, _USELESS = 0.05, {0.9: 0.03, 0.95: 0.01}, 0.03


@dataclasses.dataclass(frozen=True, kw_only=True)
class CleanFraction(arms.Mixtures):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.5, 0.8, 0.9, 0.95, 1.0), "corruption levels of the other images"
    )
    fractions: tuple[float, ...] = setting(
        (0.02, 0.05, 0.2), "shares of the training images that are clean"
    )


def check(config: CleanFraction) -> None:
    """Raises `InputError` on bad settings."""
    trained.check(config)
    if not config.fractions or not all(0 < f < 1 for f in config.fractions):
        raise InputError(
            f"`--fractions` must be between 0 and 1, got {config.fractions}."
        )
    if min(config.fractions) * config.n_train < 1:
        raise InputError(
            f"`--fractions` must leave one of {config.n_train} images clean, got "
            f"{min(config.fractions)}."
        )


def cells(config: CleanFraction) -> list[Cell]:
    """One cell for all clean, two per share, and one per share and level."""
    asked = [(ALL, 1.0, 0.0)]
    for fraction in config.fractions:
        asked += [(ALONE, fraction, 0.0), (MATCHED, fraction, 0.0)]
        asked += [(MIXED, fraction, p) for p in config.p]
    return [
        Cell({**trained.cell(config, p).settings, "arm": arm, "fraction": fraction})
        for arm, fraction, p in asked
    ]


def compute(config: CleanFraction, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: accuracies of the repeats."""
    config = settings.settled(config, cell)
    arm, fraction, p = (cell.settings[name] for name in ("arm", "fraction", "p"))
    found = []
    for repeat in range(config.repeats):
        problem, corrupted = arms.images(config, repeat, p)
        n = len(problem.labels_train)
        order = np.random.default_rng((config.seed, repeat)).permutation(n)
        clean = np.sort(order[: round(fraction * n)])
        x, labels, epochs = problem.x_train, problem.labels_train, config.epochs
        if arm == MIXED:
            x = corrupted.at[clean].set(x[clean])
        elif arm != ALL:
            x, labels = x[clean], labels[clean]
        if arm == MATCHED:
            epochs = arms.matched(config, len(clean), n)
        found.append(
            arms.accuracy(
                config, problem, jnp.asarray(x), labels, repeat=repeat, epochs=epochs
            )
        )
    return {"accuracies": found}, {"accuracies": np.array(found)}


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Accuracies by share and arm, gains over both controls, expectations."""
    levels = sorted({row["p"] for row in rows if row["arm"] == MIXED})
    shares = sorted({row["fraction"] for row in rows if row["arm"] == MIXED})
    mean = lambda row: f"{np.mean(row['accuracies']):.3f}" if row else "-"
    whole = tables.pick(rows, arm=ALL)
    lines = ["", f"accuracy on clean images; all images clean: {mean(whole)}"]
    lines.append(
        f"{'clean':>7}{'alone':>9}{'matched':>9}"
        + "".join(f"{f'p = {p:g}':>10}" for p in levels)
    )
    for share in shares:
        alone, matched = (
            tables.pick(rows, arm=arm, fraction=share) for arm in (ALONE, MATCHED)
        )
        mixed = [tables.pick(rows, arm=MIXED, fraction=share, p=p) for p in levels]
        lines.append(
            f"{share:>7g}{mean(alone):>9}{mean(matched):>9}"
            + "".join(f"{mean(row):>10}" for row in mixed)
        )
    for arm, what in ((ALONE, "alone"), (MATCHED, "alone for as many steps")):
        lines += ["", f"gain of the corrupted images over the clean ones {what}"]
        for share in shares:
            reference = tables.pick(rows, arm=arm, fraction=share)
            gains = [
                tables.gain(row, reference)
                for p in levels
                if (row := tables.pick(rows, arm=MIXED, fraction=share, p=p))
                and reference
            ]
            lines.append(
                f"{share:>7g}"
                + "".join(tables.number(*g, width=9, sign="+") for g in gains)
            )
    return "\n".join([*lines, *verdicts.lines(expected(rows)), ""])


def expected(rows: Sequence[Row]) -> list[Expected]:
    """What the corrupted images should gain beside few clean ones."""
    alone = tables.pick(rows, arm=ALONE, fraction=_SHARE)
    if alone is None:
        return []
    found = []
    for row in rows:
        if row["arm"] != MIXED or row["fraction"] != _SHARE:
            continue
        p, own = row["p"], tables.change(row, alone)
        needed = [least for level, least in _GAINS.items() if p <= level]
        what = f"p = {p:g}, {_SHARE:g} clean: gain over the clean ones alone"
        if p == 1:
            found.append(Expected(what=what, own=own, most=_USELESS))
        elif needed:
            found.append(Expected(what=what, own=own, least=max(needed)))
    return found


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Accuracy over the level for each share, with both controls."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = fig.subplots()
    shares = sorted({row["fraction"] for row in rows if row["arm"] == MIXED})
    for share, colour in zip(shares, plots.PALETTE * 3, strict=False):
        mixed = sorted(
            (row for row in rows if row["arm"] == MIXED and row["fraction"] == share),
            key=lambda row: row["p"],
        )
        values = np.array([row["accuracies"] for row in mixed])
        plots.accuracy_curves(
            ax, [row["p"] for row in mixed], *intervals.mean_error(values.T),
            label=f"{share:g} clean", color=colour,
        )  # fmt: skip
        for arm, style in ((ALONE, ":"), (MATCHED, "--")):
            row = tables.pick(rows, arm=arm, fraction=share)
            if row:
                ax.axhline(np.mean(row["accuracies"]), linestyle=style, color=colour)
    ax.plot([], [], ":", color="0.4", label="clean ones alone")
    ax.plot([], [], "--", color="0.4", label="alone, as many steps")
    ax.set(xlabel="corruption level of the other images")
    ax.legend(fontsize="small")
    row = rows[0]
    ax.set_title(f"{row['dataset']}, {row['n_train']} images ({row['normalise']})")
    return fig
