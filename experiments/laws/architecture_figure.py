"""The figure of `architectures`: accuracies over p, and what each architecture sees."""

from collections.abc import Sequence

import numpy as np

import theory
from experiments.harness.run_directory import Row, RunDirectory
from experiments.laws.architectures import DIRECTIONS
from experiments.shared.corruptions import kind
from ntk_corrupt import plots

_RULES = (
    ("weighted", "class mean in W", {"color": plots.PALETTE[0]}),
    ("plain", "plain class mean", {"color": plots.PALETTE[4], "linestyle": "--"}),
)
_POINTS = (
    ("kernel", "exact kernel", "o", "black"),
    ("network", "one network", "^", plots.PALETTE[1]),
)


def figure(directory: RunDirectory, found: Sequence[Row]):
    """Accuracies over p, and the leading directions of W: a row an architecture."""
    from matplotlib.figure import Figure

    metrics = [row for row in found if row["stage"] == "metric"]
    fig = Figure(figsize=(9.0, 1.0 + 1.45 * len(metrics)), layout="constrained")
    axes = fig.subplots(
        len(metrics),
        1 + DIRECTIONS,
        squeeze=False,
        width_ratios=[3.6, *[1.0] * DIRECTIONS],
    )
    for number, (row, (left, *right)) in enumerate(zip(metrics, axes, strict=True)):
        own = [r for r in found if r["architecture"] == row["architecture"]]
        _accuracies(left, own, row["classes"])
        _directions(right, directory.arrays(row))
        left.set_title(
            f"{row['architecture']}: {np.mean(row['ranks']):.1f} effective pixels "
            f"of {row['pixels']}",
            loc="left",
            fontsize="medium",
        )
        if number < len(metrics) - 1:
            left.set_xlabel("")
            left.tick_params(labelbottom=False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=5)
    row = metrics[0]
    size = f" at {row['size']} x {row['size']}" if row["size"] else ""
    noise = kind(row["corruption"]).by(row["noise"])
    fig.suptitle(
        f"{row['dataset']}{size} ({row['normalise']}), {row['n_train']} training "
        f"images, {row['activation']}\n{row['corruption']}{noise}; right: leading "
        "directions of W, with shares of its trace",
        fontsize="medium",
    )
    return fig


def _accuracies(ax, own: Sequence[Row], classes: int) -> None:
    """The class means as lines, kernels and networks as points."""
    for stage, label, marker, colour in _POINTS:
        rows = sorted(
            (row for row in own if row["stage"] == stage), key=lambda row: row["p"]
        )
        p = [row["p"] for row in rows]
        for of, rule, style in _RULES if rows else ():
            if rule not in ax.get_legend_handles_labels()[1]:  # alike in both stages
                ax.plot(p, [np.mean(row[of]) for row in rows], label=rule, **style)
        if rows:
            plots.accuracy_curves(
                ax,
                p,
                [np.mean(row["accuracy"]) for row in rows],
                np.nan_to_num(
                    [theory.standard_error(np.asarray(row["accuracy"])) for row in rows]
                ),
                label=label,
                color=colour,
                marker=marker,
                linestyle="",
            )
    plots.chance_line(ax, classes)
    ax.set(ylim=(0, 1), ylabel="accuracy")
    plots.corruption_axis(ax, sorted({row["p"] for row in own if "p" in row}))


def _directions(axes, arrays) -> None:
    """Each from blue (negative) to red, its largest entry positive."""
    shares = arrays["values"] / arrays["values"].sum()
    for ax, direction, share in zip(axes, arrays["directions"], shares, strict=False):
        image = plots.as_images(direction[None])[0]
        if image.ndim == 3:
            image = image.mean(axis=-1)
        image = image * np.sign(image.flat[np.abs(image).argmax()])
        most = np.abs(image).max()
        ax.imshow(image, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.set_title(f"{100 * share:.3g} %", fontsize="small")
