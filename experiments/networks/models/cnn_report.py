"""Rows of convolutional networks and perceptrons: differences, midpoints, a figure."""

from collections.abc import Callable, Sequence

import numpy as np

from experiments.harness.run_directory import Row, RunDirectory
from experiments.shared import intervals, tables, trained, verdicts
from experiments.shared.verdicts import Expected
from ntk_corrupt import plots
from ntk_corrupt.curves import bootstrap, crossings, sigmoid

_PAIRS = (("cnn", "mlp"), ("cnn_kernel", "mlp_kernel"), ("flat_kernel", "mlp_kernel"))
# Accuracy on test images as corrupted as the training images: the least lead of the
# convolutional network that is expected up to this level.
_LEAD, _UP_TO = 0.02, 0.4


def _by_model(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each model, by rising level."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["model"], []).append(row)
    return {
        model: sorted(group, key=lambda row: row["p"]) for model, group in found.items()
    }


def _pairs(models: dict[str, list[Row]]) -> list[tuple[str, str]]:
    """Pairs that are compared: both there, at the same levels."""
    there = [pair for pair in _PAIRS if set(pair) <= set(models)]
    levels = {
        model: intervals.levels(group).tolist() for model, group in models.items()
    }
    return [(one, other) for one, other in there if levels[one] == levels[other]]


def difference(
    models: dict[str, list[Row]], pair: tuple[str, str], test: str
) -> tuple[np.ndarray, np.ndarray]:
    """Mean difference of accuracy at every level, and its standard error.

    Both models of a repeat see the same images and noise: the error is that of the
    difference.
    """
    return intervals.mean_error(changes(models, pair, test))


def changes(
    models: dict[str, list[Row]], pair: tuple[str, str], test: str
) -> np.ndarray:
    """Differences of accuracy (R, levels)."""
    one, other = (intervals.repeats(models[model], test) for model in pair)
    return one - other


def midpoint_shift(
    models: dict[str, list[Row]], pair: tuple[str, str], test: str
) -> bootstrap.Interval:
    """Midpoint of the first model less that of the second; repeats drawn in pairs."""
    of = _midpoint(models[pair[0]])
    both = [intervals.repeats(models[model], test) for model in pair]
    return intervals.interval(
        lambda two: of(two[0]) - of(two[1]), np.stack(both, axis=1)
    )


def _midpoint(rows: Sequence[Row]) -> Callable[[np.ndarray], float]:
    p, chance = intervals.levels(rows), 1 / rows[0]["classes"]
    return lambda curve: sigmoid.fit_sigmoid(p, curve, chance=chance).trusted(
        "midpoint"
    )


def _sign(found: bootstrap.Interval) -> str:
    """Not told where many resamples have no fit: the interval is too narrow then."""
    if not np.isfinite(found.value) or found.failed > 0.2 * found.resamples:
        return "sign not told"
    if found.low > 0:
        return "positive"
    return "negative" if found.high < 0 else "sign not told"


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Accuracies, differences, midpoints, their shifts, and what was expected."""
    models, lines = _by_model(rows), []
    for test in trained.TESTS:
        p = intervals.levels(next(iter(models.values())))
        lines += ["", f"accuracy, {test} test images; mean and standard error"]
        lines.append(f"{'p':>24}" + "".join(f"{level:>15g}" for level in p))
        for model, group in models.items():
            found = intervals.mean_error(intervals.repeats(group, test))
            entries = tables.numbers(*found, width=8)
            lines.append(f"{model:>24}{entries}")
        for pair in _pairs(models):
            name, found = " - ".join(pair), difference(models, pair, test)
            gap = tables.numbers(*found, width=8, sign="+")
            lines.append(f"{name:>24}{gap}")
        lines.append(f"{'':>24}  p* [95 % over repeats]")
        for model, group in models.items():
            found = intervals.interval(_midpoint(group), intervals.repeats(group, test))
            lines.append(f"{model:>24}  {intervals.interval_text(found, '+')}")
        for pair in _pairs(models):
            found = midpoint_shift(models, pair, test)
            name = " - ".join(pair)
            lines.append(
                f"{name:>24}  {intervals.interval_text(found, '+')}, {_sign(found)}"
            )
    if ("cnn", "mlp") in _pairs(models):
        lines += ["", *_ends(models), *verdicts.lines(expected(models))]
    return "\n".join([*lines, ""])


def expected(models: dict[str, list[Row]]) -> list[Expected]:
    """The least lead at weak corruption."""
    weak = intervals.levels(models["cnn"]) <= _UP_TO
    if not weak.any():
        return []
    own = changes(models, ("cnn", "mlp"), "same")[:, weak]
    what = f"least cnn - mlp up to p = {_UP_TO:g}, same test images"
    least = own[:, own.mean(axis=0).argmin()]
    return [
        Expected(what=what, own=least, least=_LEAD, source="sketch: leads; least ours")
    ]


def _ends(models: dict[str, list[Row]]) -> list[str]:
    """Where the lead of the convolutional network ends."""
    p, lines = intervals.levels(models["cnn"]), []
    for test in trained.TESTS:
        gap, _ = difference(models, ("cnn", "mlp"), test)
        end = float(crossings.first_crossing(p, gap, 0.0))
        said = "ends at no level here" if gap[0] > 0 else "is none at the lowest level"
        if np.isfinite(end):
            said = f"ends at p = {end:.3f}"
        lines.append(f"the lead on {test} test images {said}")
    return lines


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Both accuracies with their sigmoids, and the differences."""
    from matplotlib.figure import Figure

    models = _by_model(rows)
    fig = Figure(figsize=(11.5, 3.8), layout="constrained")
    *axes, gaps = fig.subplots(1, 3)
    for ax, test in zip(axes, trained.TESTS, strict=True):
        for (model, group), colour in zip(models.items(), plots.PALETTE, strict=False):
            p = intervals.levels(group)
            mean, error = intervals.mean_error(intervals.repeats(group, test))
            plots.accuracy_curves(
                ax, p, mean, np.nan_to_num(error), label=model, color=colour,
                linestyle="",
            )  # fmt: skip
            fit = sigmoid.fit_sigmoid(p, mean, chance=1 / group[0]["classes"])
            if fit.ok:
                grid = np.linspace(p.min(), p.max(), 200)
                ax.plot(grid, fit.at(grid), color=colour)
                ax.axvline(fit.midpoint, color=colour, linewidth=0.7, linestyle="--")
        plots.chance_line(ax, rows[0]["classes"])
        ax.set(title=f"{test} test images", ylim=(0, 1.02))
        ax.set_xlabel("corruption level (dashed: midpoint)")
    axes[0].set_ylabel("test accuracy (bars: standard error)")
    for pair, colour in zip(_pairs(models), plots.PALETTE, strict=False):
        for test, line in zip(trained.TESTS, ("-", "--"), strict=True):
            gap, error = difference(models, pair, test)
            gaps.errorbar(
                intervals.levels(models[pair[0]]), gap, yerr=np.nan_to_num(error),
                fmt="o",
                linestyle=line, capsize=2.0, color=colour,
                label=f"{pair[0]} - {pair[1]}, {test}",
            )  # fmt: skip
    gaps.axhline(0, color="0.5", linestyle=":")
    gaps.set(title="difference of accuracy", xlabel="corruption level")
    handles, names = axes[0].get_legend_handles_labels()
    more_handles, more_names = gaps.get_legend_handles_labels()
    fig.legend(
        [*handles, *more_handles],
        [*names, *more_names],
        loc="outside lower center",
        ncols=6,
        fontsize="small",
        handlelength=4,
    )
    row = rows[0]
    size = f" at {row['size']} x {row['size']}" if row["size"] else ""
    fig.suptitle(
        f"{row['dataset']}{size} ({row['normalise']}), {row['n_train']} images, "
        f"{row['corruption']}; {row['activation']}",
        fontsize="medium",
    )
    return fig
