"""Label noise on clusters: the figure of a run."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.harness.run_directory import Row, RunDirectory
from experiments.shared import intervals
from experiments.wrong_labels.clusters.report import main_rows, sweeps
from experiments.wrong_labels.clusters.trajectories import BINS
from ntk_corrupt import plots

_CURVES = (("noisy", "noisy labels"), ("truth", "true labels"), ("test", "fresh"))


def figure(directory: RunDirectory, rows: Sequence[Row]) -> Figure:
    """Trajectories, losses, spectra, widths, distances and ridges."""
    fig = Figure(figsize=(18.5, 7), layout="constrained")
    axes = fig.subplots(2, 5)
    _, first = main_rows(rows)
    if first:
        arrays = directory.arrays(first)
        _errors(axes[0, 0], first, arrays)
        _losses(axes[0, 1], arrays)
        for ax, when in ((axes[0, 2], "early"), (axes[0, 3], "late")):
            _histogram(ax, first, arrays, when)
        _spectra(axes[1, 0], directory, sweeps(rows)["radius"])
        _widths(axes[1, 1], directory, sweeps(rows)["width"])
        fig.suptitle(
            f"n = {first['n']}, d = {first['d']}, {first.get('clusters', 2)} clusters, "
            f"eps0 = {first['radius']:g}; {first['activation']}, width "
            f"{first['width']}, {first['share']:.0%} of the labels redrawn",
            fontsize="medium",
        )
    _distances(axes[1, 2], [row for row in rows if row["part"] == "distance"])
    _ridges(axes[1, 3], [row for row in rows if row["part"] == "ridge"], first,
            arrays if first else {})  # fmt: skip
    _bounds(axes[0, 4], [row for row in rows if row["part"] == "bounds"])
    _radii(axes[1, 4], [row for row in rows if row["part"] == "radius"])
    for ax in axes.ravel():
        if not ax.has_data():
            ax.set_axis_off()
    return fig


def _iterations(ax, arrays) -> None:
    ax.set_xscale("symlog", linthresh=1, linscale=0.3)
    ax.set(xlim=(0, arrays["steps"][-1]), xlabel="iteration")


def _errors(ax, row, arrays) -> None:
    for (curve, label), colour in zip(_CURVES, plots.PALETTE, strict=False):
        for route, line in (("network", "-"), ("limit", "--")):
            ax.plot(
                arrays["steps"], arrays[f"{route}_{curve}"].mean(axis=0), line,
                color=colour, label=label if route == "network" else None,
            )  # fmt: skip
        every = arrays[f"network_{curve}"]
        ax.fill_between(
            arrays["steps"], every.min(axis=0), every.max(axis=0), color=colour,
            alpha=0.15, linewidth=0,
        )  # fmt: skip
    ax.plot([], [], "--", color="0.4", label="infinite width")
    ax.axhline(np.mean(row["flipped"]), color="0.4", linestyle=":", label="flipped")
    _iterations(ax, arrays)
    ax.set(ylim=(0, 0.6), ylabel="error", title="errors")
    ax.legend(fontsize="small")


def _losses(ax, arrays) -> None:
    for route, label, line in (
        ("network", "network", "-"),
        ("limit", "infinite width", "--"),
        ("start", "first order", ":"),
    ):
        for curve, colour in (
            ("loss", plots.PALETTE[0]),
            ("distance", plots.PALETTE[1]),
        ):
            ax.plot(
                arrays["steps"], arrays[f"{route}_{curve}"].mean(axis=0), line,
                color=colour, label=f"{curve}, {label}",
            )  # fmt: skip
    _iterations(ax, arrays)
    ax.set(yscale="log", ylim=(0.05, 500), title="loss, distance from the start")
    ax.legend(fontsize="x-small", ncols=2, loc="lower left")


def _histogram(ax, row, arrays, when) -> None:
    losses, flipped = arrays[f"{when}_losses"], arrays["flipped"]
    inside = np.clip(losses, BINS[0], BINS[-1])
    for of, label, colour in (
        (~flipped, "right labels", plots.PALETTE[0]),
        (flipped, "wrong labels", plots.PALETTE[1]),
    ):
        ax.hist(
            inside[of], BINS, weights=np.full(of.sum(), 1 / of.sum()), color=colour,
            alpha=0.6, label=label, histtype="stepfilled",
        )  # fmt: skip
    overlap = np.mean(row[f"{when}_overlap"])
    ax.set(xlim=(0, 0.6), ylim=(1e-4, 1), yscale="log", xlabel="loss of a point",
           ylabel="share of the points",
           title=f"iteration {row[when]}: common area {overlap:.2f}")  # fmt: skip
    ax.legend(fontsize="small")


def _spectra(ax, directory, rows) -> None:
    for row, colour in zip(rows, plots.PALETTE, strict=False):
        arrays = directory.arrays(row)
        for when, line in (("start", "-"), ("end", "--")):
            values = arrays[f"{when}_singular"].mean(axis=0)
            ax.plot(
                np.arange(1, len(values) + 1), values, line, color=colour,
                label=f"eps0 = {row['radius']:g}" if when == "start" else None,
            )  # fmt: skip
    ax.plot([], [], "--", color="0.4", label="after training")
    ax.set(xscale="log", yscale="log", ylim=(1e-2, 20), xlabel="number",
           title="singular values of the Jacobian")  # fmt: skip
    ax.legend(fontsize="small")


def _widths(ax, directory, rows) -> None:
    for row, colour in zip(
        sorted(rows, key=lambda row: row["width"]), plots.PALETTE, strict=False
    ):
        arrays = directory.arrays(row)
        for route, line in (("limit", "-"), ("start", ":")):
            ax.plot(
                arrays["steps"][1:], arrays[f"{route}_rms"].mean(axis=0)[1:], line,
                color=colour,
                label=f"width {row['width']}" if route == "limit" else None,
            )  # fmt: skip
    ax.plot([], [], ":", color="0.4", label="from first order")
    _iterations(ax, arrays)
    ax.set(yscale="log", ylim=(1e-3, 1), title="outputs part from infinite width by")
    ax.legend(fontsize="small")


def _distances(ax, rows) -> None:
    if not rows:
        return
    flips = [row["flip"] for row in rows]
    for when, step, colour in (
        ("early", "early", plots.PALETTE[0]),
        ("late", "flip_late", plots.PALETTE[1]),
    ):
        for name, line in (("distance", "-"), ("bound", "--")):
            values = np.array([row[f"{when}_{name}"] for row in rows])
            mean, error = intervals.mean_error(values.T)
            ax.errorbar(
                flips, mean, yerr=error,
                color=colour, linestyle=line, marker="o", capsize=2.0,
                label=f"{rows[0][step]}" + ("" if name == "distance" else ", at least"),
            )  # fmt: skip
    ax.set(xlabel="share of labels flipped", title="distance from the start")
    ax.set_ylim(bottom=0)
    ax.legend(fontsize="small", title="iteration")


def _ridges(ax, rows, first, arrays) -> None:
    if not rows:
        return
    weights = [row["ridge"] for row in rows]
    for (curve, label), colour in zip(_CURVES, plots.PALETTE, strict=False):
        values = np.array([row[f"network_{curve}"] for row in rows]).mean(axis=1)
        ax.plot(weights, values, "o-", color=colour, label=label)
        law = np.array([row[f"limit_{curve}"] for row in rows]).mean(axis=1)
        ax.plot(weights, law, "--", color=colour)
    if first:
        best = arrays["network_test"].min(axis=1).mean()
        ax.axhline(best, color="0.4", linestyle=":", label="best stop, fresh")
    ax.set(xscale="log", ylim=(0, 0.35), xlabel="ridge", ylabel="error",
           title="a ridge in place of stopping")  # fmt: skip
    ax.legend(fontsize="small", loc="upper left")


def _bounds(ax, rows) -> None:
    """Alpha, beta, eps over the radius, of the last activation, beside their bounds."""
    rows = [row for row in rows if row["activation"] == rows[-1]["activation"]]
    if not rows:
        return
    name, radii = rows[0]["activation"], [row["radius"] for row in rows]
    for end, colour in zip(("alpha", "beta", "eps"), plots.PALETTE, strict=False):
        for of, line in (("start", "o-"), ("bound", "x--")):
            values = np.array([row[f"{of}_{end}"] for row in rows], float).mean(axis=1)
            ax.plot(
                radii, values, line, color=colour, label=end if of == "start" else None
            )
    ax.plot([], [], "x--", color="0.4", label="bound by clusters")
    ax.set(xscale="log", xlabel="eps0", title=f"J at the start, {name}")
    ax.set_ylim(bottom=0)
    ax.legend(fontsize="small")


def _radii(ax, rows) -> None:
    """Distance at which all wrong labels are learned, over the radius."""
    names = dict.fromkeys(row["activation"] for row in rows)
    for name, colour in zip(names, plots.PALETTE, strict=False):
        of = [row for row in rows if row["activation"] == name]
        for what, line, said in (
            ("distance", "o-", "learned"),
            ("law", "s:", "law, at least"),
            ("least", "--", "pairs, at least"),
        ):
            mean, error = intervals.mean_error(np.array([row[what] for row in of]).T)
            ax.errorbar([row["radius"] for row in of], mean, yerr=error, fmt=line,
                        color=colour, label=f"{name}: {said}", capsize=2.0)  # fmt: skip
    if rows:
        ax.set(xscale="log", yscale="log", xlabel="eps0",
               title="distance of wrong labels")  # fmt: skip
        ax.legend(fontsize="x-small")
