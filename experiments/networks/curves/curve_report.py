"""Curves over the corruption level: fits, their change with size, proxies, a figure."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.harness.run_directory import Row, RunDirectory
from experiments.networks.curves import size_verdicts
from experiments.shared import intervals, reference, tables, trained, verdicts
from experiments.shared.corruptions import KINDS
from ntk_corrupt import plots
from ntk_corrupt.curves import collapse_quality, crossings, sigmoid
from theory.errors import InputError


def _by_size(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Rows of each size, by rising level."""
    found: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row[row["sweep"]], row["p"])):
        found.setdefault(row[row["sweep"]], []).append(row)
    return found


def statistics(p: np.ndarray, chance: float) -> dict[str, Callable]:
    """Numbers of a mean curve at the levels p: NaN where there is none."""
    fitted = lambda curve, name: sigmoid.fit_sigmoid(p, curve, chance=chance).trusted(
        name
    )
    return {
        "p*": functools.partial(fitted, name="midpoint"),
        "slope": functools.partial(fitted, name="slope"),
        "half height": lambda curve: crossings.half_height(p, curve, chance=chance),
    }


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Curves, fits, their change with size, and proxies."""
    sizes, sweep = _by_size(rows), rows[0]["sweep"]
    chance = 1 / rows[0]["classes"]
    lines = []
    for test in trained.TESTS:
        p = intervals.levels(next(iter(sizes.values())))
        lines += ["", f"accuracy, {test} test images; mean and standard error"]
        lines.append(f"{sweep:>11}" + "".join(f"{level:>15g}" for level in p))
        for size, group in sizes.items():
            found = intervals.mean_error(intervals.repeats(group, test))
            lines.append(f"{size:>11}{tables.numbers(*found, width=8)}")
        lines.append(f"{sweep:>11}  p*, slope, half height [95 % over repeats]")
        lines += [
            f"{size:>11}  "
            + "  ".join(
                intervals.interval_text(
                    intervals.interval(statistic, intervals.repeats(group, test))
                )
                for statistic in statistics(intervals.levels(group), chance).values()
            )
            for size, group in sizes.items()
        ]
        lines += _change(sizes, test, chance)
    alive = {
        size: intervals.repeats(g, "alive").mean(axis=0) for size, g in sizes.items()
    }
    lines += ["", f"{sweep:>11}  share of hidden units alive on corrupted test images"]
    lines += [
        f"{size:>11}  " + "".join(f"{a:>8.2f}" for a in of)
        for size, of in alive.items()
    ]
    of = functools.partial(statistics, chance=chance)
    lines += size_verdicts.lines(sizes, of) + _proxies(sizes, sweep)
    lines += verdicts.lines(size_verdicts.expected(sizes, of))
    published = reference.report("corruption_curve", rows, _published)
    return "\n".join([*lines, *published, ""])


def _published(group: Sequence[Row], entry: dict[str, Any]) -> float | None:
    """Our number for an entry of the published figures."""
    return float(np.mean(group[0][entry["of"]])) if group else None


def _change(sizes: dict[int, list[Row]], test: str, chance: float) -> list[str]:
    """How midpoint and slope move from the smallest size to the largest."""
    if len(sizes) < 2:
        return []
    first, last = (list(sizes.values())[i] for i in (0, -1))
    if list(intervals.levels(first)) != list(intervals.levels(last)):
        return []
    both = [intervals.repeats(group, test) for group in (first, last)]
    least = min(map(len, both))
    samples = np.stack([part[:least] for part in both], axis=1)
    of = statistics(intervals.levels(first), chance)
    shift = intervals.interval(lambda two: of["p*"](two[1]) - of["p*"](two[0]), samples)
    ratio = intervals.interval(
        lambda two: of["slope"](two[1]) / of["slope"](two[0]), samples
    )
    said = [intervals.interval_text(found) for found in (shift, ratio)]
    return [f"largest less smallest: p* {said[0]}; ratio of slopes {said[1]}"]


def proxies(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Functions of level and size that might put curves on one, falling with p."""
    p, found = intervals.levels(rows), {}
    if not KINDS[rows[0]["corruption"]].of_width:
        with np.errstate(divide="ignore"):
            signal = (1 - p) / np.sqrt(p)
        found["(1 - p)/sqrt(p)"] = signal
        found["sqrt(N) (1 - p)/sqrt(p)"] = np.sqrt(rows[0]["n_train"]) * signal
    z = np.array([np.mean(row["z"]) for row in rows], float)
    found["median margin over its deviation"] = z
    # runs from before it was kept have none
    snr = [row.get("ln_snr") for row in rows]
    found["ln SNR of the first order"] = np.array(snr, float)
    return found


def _proxies(sizes: dict[int, list[Row]], sweep: str) -> list[str]:
    """Quality of the collapse of clean curves by each proxy."""
    if len(sizes) < 2:
        return []
    lines = ["", "collapse of the clean curves; spread across sizes | over the total"]
    ends = KINDS[next(iter(sizes.values()))[0]["corruption"]].ends
    inside = {
        size: [row for row in group if row["p"] not in ends]
        for size, group in sizes.items()
    }
    for name in proxies(next(iter(inside.values()))):
        x, y = [], []
        for group in inside.values():
            proxy = proxies(group)[name]
            known = np.isfinite(proxy)
            if known.sum() < 2:
                continue
            x.append(proxy[known])
            y.append(intervals.repeats(group, "clean").mean(axis=0)[known])
        if len(x) < 2:
            continue
        try:
            quality = collapse_quality.collapse_quality(x, y)
            said = f"{quality.within:.3f} | {quality.ratio:.2f}"
        except InputError as error:
            said = str(error)
        lines.append(f"{name:<34} {said}")
    return lines


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Curves with their sigmoids; midpoint and slope over the size."""
    from matplotlib.figure import Figure

    sizes, sweep = _by_size(rows), rows[0]["sweep"]
    chance = 1 / rows[0]["classes"]
    fig = Figure(figsize=(11.0, 6.4), layout="constrained")
    axes = fig.subplots(2, 3)
    for ax, test in zip(axes[0], trained.TESTS, strict=False):
        for (size, group), colour in zip(sizes.items(), itertools.cycle(plots.PALETTE)):
            p, samples = intervals.levels(group), intervals.repeats(group, test)
            mean, error = intervals.mean_error(samples)
            label = f"{sweep} {size}"
            plots.accuracy_curves(
                ax, p, mean, error, label=label, color=colour,
                linestyle="",
            )  # fmt: skip
            fit = sigmoid.fit_sigmoid(p, mean, chance=chance)
            if fit.ok:
                grid = np.linspace(p.min(), p.max(), 200)
                ax.plot(grid, fit.at(grid), color=colour)
            if test == "clean":
                axes[1, 2].plot(p, samples.std(axis=0), "o-", color=colour)
                losses = intervals.repeats(group, "train_loss").mean(axis=0)
                axes[0, 2].plot(p, losses, "o-", color=colour)
        plots.chance_line(ax, rows[0]["classes"])
        ax.set(title=f"{test} test images", xlabel="corruption level")
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=6,
        fontsize="small",
    )
    axes[0, 2].set(title="training loss", xlabel="corruption level")
    axes[1, 2].set(title="deviation over repeats, clean", xlabel="corruption level")
    for ax, name in zip(axes[1], ("p*", "slope"), strict=False):
        for test, marker in zip(trained.TESTS, ("o", "s"), strict=True):
            found = [
                intervals.interval(
                    statistics(intervals.levels(group), chance)[name],
                    intervals.repeats(group, test),
                )
                for group in sizes.values()
            ]
            value = np.array([f.value for f in found])
            bars = np.array([[f.value - f.low, f.high - f.value] for f in found]).T
            bars = np.maximum(np.nan_to_num(bars), 0.0)
            ax.errorbar(
                list(sizes), value, yerr=bars, marker=marker, capsize=2.0, label=test
            )
        ax.set_xscale("log")
        ax.set_xticks(list(sizes), labels=[str(size) for size in sizes])
        ax.minorticks_off()
        ax.set(title=name, xlabel=sweep)
    axes[1, 0].legend(fontsize="small")
    row = rows[0]
    fig.suptitle(
        f"{row['dataset']} ({row['normalise']}), {row['corruption']}, "
        f"{row['noise_regime']} noise; {row['activation']}, {row['depth']} layers of "
        f"{row['width']}, {row['optimiser']} {row['learning_rate']:g}",
        fontsize="medium",
    )
    return fig
