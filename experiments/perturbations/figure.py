"""Figure of `adversarial_learning`: eight panels, and decision maps beside them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.harness.run_directory import Row, RunDirectory
from experiments.perturbations.report import at_best, at_first, matched, settings_of
from ntk_corrupt import plots

_CURVES = (
    ("acc_f", "f, on true labels", "o", "-"),
    ("acc_g", "g, learned from perturbations", "X", "--"),
    ("agreement", "agreement of f and g", "^", ":"),
)
_LABELS = {
    "d": "inputs d (eps grows as sqrt d)",
    "m": "hidden units m",
    "eps": "length of the perturbations",
    "slope": "slope where negative",
    "n": "training inputs n",
    "steps_f": "steps of f",
    "steps_g": "steps of g",
    "variants": "",
}
_MAPS = (("hat_f", "$\\hat f$"), ("f", "f"), ("hat_g", "$\\hat g$"), ("g", "g"))


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Accuracies and agreement over every setting; maps where they were asked for."""
    from matplotlib.figure import Figure

    config = settings_of(directory)
    panels = matched(config, rows)
    maps = [row for row in rows if row["kind"] == "map"]
    shown = [name for name in _LABELS if panels.get(name)]
    height = math.ceil(len(shown) / 2)
    beside = height == len(_MAPS)  # else the maps go below
    below = 3 if maps and not beside else 0
    size = (12.5 if maps and beside else 9.0, 3 * height + below)
    fig: Any = Figure(figsize=size, layout="constrained")
    if not maps:
        left, right = fig, None
    else:
        split: Any = {"nrows": 2, "ncols": 1, "height_ratios": (height, 0.9)}
        if beside:
            split = {"nrows": 1, "ncols": 2, "width_ratios": (3, 1)}
        left, right = fig.subfigures(squeeze=False, **split).ravel()
    axes = left.subplots(height, 2, squeeze=False).ravel()
    for ax, name in zip(axes, shown, strict=False):
        _curves(ax, panels[name], name)
    for ax in axes[: len(shown) : 2]:
        ax.set_ylabel("accuracy, agreement")
    left.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=3,
        fontsize="small",
    )
    for ax in axes[len(shown) :]:
        ax.set_axis_off()
    if right is not None:
        arrays, half = directory.arrays(maps[0]), maps[0]["limit"]
        places = right.subplots(*((4, 1) if beside else (1, 4)))
        for ax, (name, title) in zip(places, _MAPS, strict=True):
            _map(ax, arrays, name, title, half)
    fig.suptitle(
        f"{config.dataset}, perturbations {config.scenario}: rates of f and g "
        f"{config.rates_f[0]:g}, {config.rates_g[0]:g}; "
        f"{config.repeats} repeats, bars from least to most",
        fontsize="medium",
    )
    return fig


def _curves(ax, points: Sequence[tuple[Any, Row]], name: str) -> None:
    """One panel; values that are names, or span decades, are spaced evenly."""
    ax.set(ylim=(0.4, 1.05), yticks=(0.5, 0.75, 1.0), xlabel=_LABELS[name])
    ax.axhline(0.5, color="0.6", linestyle="-.", linewidth=0.8, label="chance")
    at = np.arange(len(points), dtype=float)
    names = [value if isinstance(value, str) else f"{value:g}" for value, _ in points]
    for (key, label, marker, line), colour in zip(_CURVES, plots.PALETTE, strict=False):
        values = np.array([at_first(row, key) for _, row in points])
        mean = values.mean(axis=1)
        bars = np.abs([mean - values.min(axis=1), values.max(axis=1) - mean])
        ax.errorbar(
            at, mean, yerr=bars, marker=marker, capsize=2.0, color=colour, label=label,
            linestyle="" if name == "variants" else line,
        )  # fmt: skip
        if key == "acc_g" and name != "variants":
            best = [at_best(row, key).mean() for _, row in points]
            ax.plot(at, best, color=colour, lw=0.7, label="g at the best of the rates")
    turned = {"rotation": 60, "ha": "right", "fontsize": "x-small"}
    ax.set_xticks(at, names, **(turned if name == "variants" else {}))


def _map(ax, arrays: dict[str, np.ndarray], name: str, title: str, half: float) -> None:
    """Where the sign is positive, its border, and the training inputs."""
    extent = (-half, half, -half, half)
    positive = np.where(arrays[name] > 0, 1.0, 0.0)
    ax.imshow(
        positive, origin="lower", extent=extent, cmap="RdBu", vmin=-0.6, vmax=1.6,
        interpolation="nearest", aspect="equal",
    )  # fmt: skip
    some = arrays["projected"][:300]
    colours = np.where(arrays["y"][:300] > 0, plots.PALETTE[0], plots.PALETTE[1])
    ax.scatter(some[:, 0], some[:, 1], s=3, c=colours, linewidths=0)
    ax.set(title=f"decisions of {title}", xlim=(-half, half), ylim=(-half, half))
    ax.grid(visible=False)
