"""How does accuracy fall with corruption, and what moves the fall?

Networks trained on corrupted images, tested on clean ones and on images as corrupted as
they were trained on, over levels and over sizes (--sweep n_train, width, depth or
batch_size). For each size the midpoint p* and the slope of a sigmoid whose lower end is
chance, the half height without a model, all with intervals over repeats; and how well
functions of level and size put the curves of all sizes on one.

    python -m experiments.corruption_curve --workdir=results/corruption_curve
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from experiments import _networks, _runner
from experiments._networks import compute as compute
from experiments._runner import setting
from ntk_corrupt import curves, plots
from ntk_corrupt.results import Cell, Row, RunDirectory
from theory.errors import InputError, unknown

SWEEPS = ("n_train", "width", "depth", "batch_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorruptionCurve(_networks.Networks):
    """Settings of the experiment."""

    sweep: str = setting("n_train", f"what is varied: {', '.join(SWEEPS)}")
    sizes: tuple[int, ...] = setting((250, 500, 1000), "its values, rising")


# One network sees 64 000 images at every size.
_SAME_SAMPLES = {"samples": 64_000, "epochs": 20}
PRESETS = {
    "smoke": {
        "sizes": (60, 120),
        "n_test": 100,
        "p": (0.2, 0.6, 0.9, 1.0),
        "repeats": 2,
        "width": 16,
        "epochs": 2,
    },
    "cpu": {**_SAME_SAMPLES, "noise_regime": "frozen"},
    "width": {"sweep": "width", "n_train": 1000, "sizes": (8, 32, 128, 512)},
    "depth": {"sweep": "depth", "n_train": 1000, "sizes": (2, 5, 9), "width": 64},
    "batch_size": {
        **_SAME_SAMPLES,
        "sweep": "batch_size",
        "n_train": 1000,
        "sizes": (16, 128, 1000),
        "width": 64,
    },
    # result files of github.com/AsadullahBhuiyan/noisy_neural_networks
    "paper": {
        "dataset": "mnist",
        "sizes": (54_120,),
        "p": tuple(round(0.1 * k, 1) for k in range(11)),
        "depth": 4,
        "repeats": 100,
    },
}


def _each(config: CorruptionCurve) -> list[CorruptionCurve]:
    return [dataclasses.replace(config, **{config.sweep: n}) for n in config.sizes]


def check(config: CorruptionCurve) -> None:
    """Raises `InputError` on bad settings."""
    if config.sweep not in SWEEPS:
        raise unknown("--sweep", config.sweep, SWEEPS)
    if not config.sizes or list(config.sizes) != sorted(set(config.sizes)):
        raise InputError(f"`--sizes` must be rising numbers, got {config.sizes}.")
    if len(config.p) < 4:
        raise InputError(
            f"`--p` must be at least 4 levels to fit a fall, got {config.p}."
        )
    for each in _each(config):
        _networks.check(each)


def cells(config: CorruptionCurve) -> list[Cell]:
    """One cell per size and level."""
    return [
        Cell({**_networks.cell(each, p).settings, "sweep": config.sweep})
        for each in _each(config)
        for p in config.p
    ]


def _by_size(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Rows of each size, by rising level."""
    found: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row[row["sweep"]], row["p"])):
        found.setdefault(row[row["sweep"]], []).append(row)
    return found


def statistics(p: np.ndarray, chance: float) -> dict[str, Callable]:
    """Numbers of a mean curve at the levels p: NaN where there is none."""
    fitted = lambda curve, name: curves.fit_sigmoid(p, curve, chance=chance).trusted(
        name
    )
    return {
        "p*": functools.partial(fitted, name="midpoint"),
        "slope": functools.partial(fitted, name="slope"),
        "half height": lambda curve: curves.half_height(p, curve, chance=chance),
    }


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Curves, fits, their change with size, and proxies."""
    sizes, sweep = _by_size(rows), rows[0]["sweep"]
    chance = 1 / rows[0]["classes"]
    lines = []
    for test in _networks.TESTS:
        p = _networks.levels(next(iter(sizes.values())))
        lines += ["", f"accuracy, {test} test images; mean and standard error"]
        lines.append(f"{sweep:>11}" + "".join(f"{level:>15g}" for level in p))
        for size, group in sizes.items():
            samples = _networks.repeats(group, test)
            error = samples.std(axis=0, ddof=1) / len(samples) ** 0.5
            lines.append(
                f"{size:>11}"
                + "".join(
                    f"{m:>8.3f} ±{e:.3f}"
                    for m, e in zip(samples.mean(axis=0), error, strict=True)
                )
            )
        lines.append(f"{sweep:>11}  p*, slope, half height [95 % over repeats]")
        lines += [
            f"{size:>11}  "
            + "  ".join(
                _networks.interval_text(
                    _networks.interval(statistic, _networks.repeats(group, test))
                )
                for statistic in statistics(_networks.levels(group), chance).values()
            )
            for size, group in sizes.items()
        ]
        lines += _change(sizes, test, chance)
    alive = {
        size: _networks.repeats(g, "alive").mean(axis=0) for size, g in sizes.items()
    }
    lines += ["", f"{sweep:>11}  share of hidden units alive on corrupted test images"]
    lines += [
        f"{size:>11}  " + "".join(f"{a:>8.2f}" for a in of)
        for size, of in alive.items()
    ]
    return "\n".join([*lines, *_proxies(sizes, sweep), ""])


def _change(sizes: dict[int, list[Row]], test: str, chance: float) -> list[str]:
    """How midpoint and slope move from the smallest size to the largest."""
    if len(sizes) < 2:
        return []
    first, last = (list(sizes.values())[i] for i in (0, -1))
    if list(_networks.levels(first)) != list(_networks.levels(last)):
        return []
    both = [_networks.repeats(group, test) for group in (first, last)]
    least = min(map(len, both))
    samples = np.stack([part[:least] for part in both], axis=1)
    of = statistics(_networks.levels(first), chance)
    shift = _networks.interval(lambda two: of["p*"](two[1]) - of["p*"](two[0]), samples)
    ratio = _networks.interval(
        lambda two: of["slope"](two[1]) / of["slope"](two[0]), samples
    )
    said = [_networks.interval_text(found) for found in (shift, ratio)]
    return [f"largest less smallest: p* {said[0]}; ratio of slopes {said[1]}"]


def proxies(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Functions of level and size that might put curves on one, falling with p."""
    p = _networks.levels(rows)
    with np.errstate(divide="ignore"):
        signal = (1 - p) / np.sqrt(p)
    found = {
        "(1 - p)/sqrt(p)": signal,
        "sqrt(N) (1 - p)/sqrt(p)": np.sqrt(rows[0]["n_train"]) * signal,
    }
    z = np.array([np.mean(row["z"]) for row in rows], float)
    return {**found, "median margin over its deviation": z}


def _proxies(sizes: dict[int, list[Row]], sweep: str) -> list[str]:
    """Quality of the collapse of clean curves by each proxy."""
    if len(sizes) < 2:
        return []
    lines = ["", "collapse of the clean curves; spread across sizes | over the total"]
    inside = {
        size: [row for row in group if 0 < row["p"] < 1]
        for size, group in sizes.items()
    }
    for name in proxies(next(iter(inside.values()))):
        x, y = [], []
        for group in inside.values():
            proxy = proxies(group)[name]
            known = np.isfinite(proxy)
            x.append(proxy[known])
            y.append(_networks.repeats(group, "clean").mean(axis=0)[known])
        try:
            quality = curves.collapse_quality(x, y)
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
    for ax, test in zip(axes[0], _networks.TESTS, strict=False):
        for (size, group), colour in zip(sizes.items(), itertools.cycle(plots.PALETTE)):
            p, samples = _networks.levels(group), _networks.repeats(group, test)
            mean = samples.mean(axis=0)
            error = samples.std(axis=0, ddof=min(1, len(samples) - 1))
            label = f"{sweep} {size}"
            plots.accuracy_curves(
                ax, p, mean, error / len(samples) ** 0.5, label=label, color=colour,
                linestyle="",
            )  # fmt: skip
            fit = curves.fit_sigmoid(p, mean, chance=chance)
            if fit.ok:
                grid = np.linspace(p.min(), p.max(), 200)
                ax.plot(grid, fit.at(grid), color=colour)
            if test == "clean":
                axes[1, 2].plot(p, samples.std(axis=0), "o-", color=colour)
                losses = _networks.repeats(group, "train_loss").mean(axis=0)
                axes[0, 2].plot(p, losses, "o-", color=colour)
        plots.chance_line(ax, rows[0]["classes"])
        ax.set(title=f"{test} test images", xlabel="corruption level")
    axes[0, 0].legend(fontsize="small")
    axes[0, 2].set(title="training loss", xlabel="corruption level")
    axes[1, 2].set(
        title="standard deviation over repeats, clean", xlabel="corruption level"
    )
    for ax, name in zip(axes[1], ("p*", "slope"), strict=False):
        for test, marker in zip(_networks.TESTS, ("o", "s"), strict=True):
            found = [
                _networks.interval(
                    statistics(_networks.levels(group), chance)[name],
                    _networks.repeats(group, test),
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


EXPERIMENT = _runner.Experiment(
    name="corruption_curve",
    config=CorruptionCurve,
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
