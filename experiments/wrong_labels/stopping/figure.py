"""Networks trained on wrong labels: their paths, losses, accuracies over the share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import theory
from experiments.harness.run_directory import Row, RunDirectory
from experiments.wrong_labels.stopping.report import Group, groups, numbers
from ntk_corrupt import plots

LINES = {
    "noisy": "noisy training labels",
    "truth": "true training labels",
    "valid": "noisy validation labels",
    "test": "test",
}
STYLES = ("-", "--", ":", "-.")
_BINS = 40


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """A column per network and share: path, losses at the stop and at the end.

    Below, accuracy over the share, stopped and not, and accuracy and loss over the
    distance from the start. Curves are means over repeats, losses of all of them.
    """
    from matplotlib.figure import Figure

    networks = [group for group in groups(rows) if group.model != "kernel"]
    columns = [(group, share) for group in networks for share in group.rows]
    if not columns:
        return _of_kernels(groups(rows))
    wide = max(4, len(columns))
    fig = Figure(figsize=(2.9 * wide, 11.0), layout="constrained")
    parts: Any = fig.subfigures(2, 1, height_ratios=(2.9, 1.15))
    upper, lower = parts
    axes = upper.subplots(3, len(columns), squeeze=False)
    for (group, share), (path, stopped, ended) in zip(columns, axes.T, strict=True):
        arrays = [directory.arrays(row) for row in group.rows[share]]
        path.set_title(f"{group.name}\n{share:g} replaced", fontsize="medium")
        _path(path, arrays, numbers(group.rows[share], "stop"))
        edges = _edges(directory, group)
        for ax, at in ((stopped, "stop"), (ended, "end")):
            _losses(ax, arrays, at, edges)
    for ax, label in zip(axes[:, 0], ("accuracy", "density", "density"), strict=True):
        ax.set_ylabel(label)
    upper.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=len(LINES) + 1,
        fontsize="small",
    )
    axes[1, -1].legend(fontsize="x-small", loc="upper right")
    axes[1, 0].annotate("stopped", (0.97, 0.9), xycoords="axes fraction", ha="right")
    axes[2, 0].annotate("at the end", (0.97, 0.9), xycoords="axes fraction", ha="right")
    row = rows[0]
    fig.suptitle(
        f"{row['dataset']} ({row['normalise']}), {row['n_train']} training images, "
        f"{row['n_valid']} held out; {row['mode']} label noise",
        fontsize="medium",
    )
    last = lower.subplots(1, 4)
    for ax, at in zip(last[:2], ("end", "stop"), strict=True):
        _over_shares(ax, groups(rows), at)
    last[0].set_ylabel("accuracy")
    lower.legend(
        handles=_meaning(groups(rows)),
        loc="outside lower center",
        ncols=8,
        fontsize="small",
        handlelength=3,
        title="the two on the left; bars: standard error",
        title_fontsize="small",
    )
    _over_distance(directory, *last[2:], networks)
    return fig


def _path(ax, arrays: Sequence[dict[str, np.ndarray]], stops: np.ndarray) -> None:
    for (name, label), colour in zip(LINES.items(), plots.PALETTE, strict=False):
        found = np.array([each[name] for each in arrays])
        epochs = np.arange(found.shape[1])
        ax.fill_between(
            epochs, found.min(axis=0), found.max(axis=0), alpha=0.2, color=colour, lw=0
        )
        ax.plot(epochs, found.mean(axis=0), color=colour, label=label)
    for number, stop in enumerate(stops):
        label = "stopped, each repeat" if number == 0 else "_"
        ax.axvline(stop, color="0.4", linestyle=":", linewidth=1, label=label)
    ax.set(ylim=(0, 1.02), xlabel="epochs")


def _edges(directory: RunDirectory, group: Group) -> np.ndarray:
    """Bins of the losses of a network, the same for all shares and times."""
    most = [
        np.quantile(directory.arrays(row)[f"losses_{at}"], 0.995)
        for rows in group.rows.values()
        for row in rows
        for at in ("stop", "end")
    ]
    return np.linspace(0, max(most), _BINS + 1)


def _losses(ax, arrays, at: str, edges: np.ndarray) -> None:
    losses = np.concatenate([each[f"losses_{at}"] for each in arrays])
    wrong = np.concatenate([each["wrong"] for each in arrays])
    for of, label, colour in (
        (~wrong, "right labels", plots.PALETTE[0]),
        (wrong, "wrong labels", plots.PALETTE[1]),
    ):
        if not of.any():
            continue
        # what is beyond the last edge is in the last bin; a share of all examples
        ax.hist(
            np.minimum(losses[of], edges[-1]), edges, color=colour, alpha=0.6,
            weights=np.full(of.sum(), 1 / (len(losses) * np.diff(edges)[0])),
            label=label, histtype="stepfilled",
        )  # fmt: skip
    ax.set(xlabel="loss", xlim=(edges[0], edges[-1]), yscale="log")
    ax.set_ylim(1e-3 / edges[-1], 2 / np.diff(edges)[0])
    ax.minorticks_off()  # they take most of the time of drawing


def _over_shares(ax, found: Sequence[Group], at: str) -> None:
    """Accuracies over the share, in the layout of Fig. 1."""
    for group, style in zip(found, STYLES * 3, strict=False):
        shares = list(group.rows)
        for name, colour in zip(LINES, plots.PALETTE, strict=False):
            if name == "valid":
                continue
            values = [numbers(rows, f"at_{at}", name) for rows in group.rows.values()]
            error = [_error(each) for each in values]
            ax.errorbar(
                shares,
                [each.mean() for each in values],
                yerr=error,
                color=colour,
                linestyle=style,
                marker="o",
                capsize=2.0,
            )
    said = "stopped by noisy validation" if at == "stop" else "without stopping"
    ax.set(title=said, xlabel="share of labels replaced", ylim=(0, 1.02))


def _error(values: np.ndarray) -> float:
    """Standard error over repeats; of one repeat, none to draw."""
    return float(theory.standard_error(values)) if len(values) > 1 else 0.0


def _meaning(found: Sequence[Group]) -> list:
    """What colours and styles of `_over_shares` mean."""
    from matplotlib.lines import Line2D

    said = [
        Line2D([], [], color=colour, marker="o", label=label)
        for (name, label), colour in zip(LINES.items(), plots.PALETTE, strict=False)
        if name != "valid"
    ]
    if len(found) > 1:
        said += [
            Line2D([], [], color="0.3", linestyle=style, label=group.name)
            for group, style in zip(found, STYLES * 3, strict=False)
        ]
    return said


def _over_distance(
    directory: RunDirectory, left, right, found: Sequence[Group]
) -> None:
    """Accuracy on the noisy labels, and loss, over the relative distance."""
    for group, style in zip(found, STYLES * 3, strict=False):
        for (share, rows), colour in zip(
            group.rows.items(), plots.PALETTE * 3, strict=False
        ):
            for number, row in enumerate(rows):
                path = directory.arrays(row)
                label = f"{share:g}" if number == 0 and group is found[0] else None
                drawn = {"color": colour, "linestyle": style, "linewidth": 1}
                left.plot(path["distance"], path["noisy"], label=label, **drawn)
                loss = path["loss"] / path["loss"][0]
                right.plot(path["distance"], loss, label=label, **drawn)
    for ax, label in (
        (left, "accuracy, noisy training labels"),
        (right, "training loss, over its start"),
    ):
        ax.set(xlabel="relative distance from the start", ylabel=label)
        ax.set_xlim(left=0)
    left.set_ylim(0, 1.02)
    right.set(yscale="log", ylim=(1e-3, 2))
    right.minorticks_off()
    left.legend(fontsize="x-small", title="replaced")


def _of_kernels(found: Sequence[Group]):
    from matplotlib.figure import Figure

    fig = Figure(figsize=(7.5, 3.4), layout="constrained")
    for ax, at in zip(fig.subplots(1, 2), ("end", "stop"), strict=True):
        _over_shares(ax, found, at)
    fig.legend(handles=_meaning(found), loc="outside lower center", ncols=5)
    return fig
