"""Rows of Boltzmann machines and their rivals: tables, expectations and a figure."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from experiments.harness.run_directory import Row, RunDirectory
from experiments.shared import intervals, tables, verdicts
from experiments.shared.corruptions import KINDS
from experiments.shared.verdicts import Expected
from ntk_corrupt import plots
from ntk_corrupt.rbm import classifiers

METHODS = (*classifiers.METHODS, "mlp")
REGIMES = {
    "train": "training images corrupted, test images clean",
    "test": "training images clean, test images corrupted",
    "both": "training and test images corrupted",
}
MACHINES = ("rbm_cd", "rbm_pcd")
# as the figure calls them
_SAID = {
    "rbm_cd": "hidden units, CD",
    "rbm_pcd": "hidden units, persistent CD",
    "raw": "raw pixels",
    "class_mean": "nearest class mean",
    "mlp": "network, one hidden layer",
}


Curves = dict[str, tuple[np.ndarray, np.ndarray]]


def curves(rows: Sequence[Row], regime: str) -> Curves:
    """Returns by method the levels (n,) of a regime and its accuracies (n, repeats)."""
    found: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        levels = found.setdefault(row["method"], {})
        if regime == "test":
            values = zip(row["p_test"], row["corrupted"], strict=True)
            points = list(values) if row["p"] == 0 else []
        elif row["p"] not in row["p_test"]:  # clean training was not asked for
            points = []
        else:
            at = row["p_test"].index(row["p"])
            same = row["corrupted"][at]
            points = [(row["p"], row["clean"] if regime == "train" else same)]
        for p, value in points:
            levels.setdefault(p, []).append(value)
    return {
        method: (
            np.array(sorted(levels)),
            np.array([levels[p] for p in sorted(levels)]),
        )
        for method, levels in found.items()
    }


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Accuracies by regime, level and method; pseudo-likelihoods; what was expected."""
    lines = []
    for regime, title in REGIMES.items():
        found = curves(rows, regime)
        levels = next(iter(found.values()))[0]
        lines += ["", f"{title}: accuracy, mean and standard error over repeats"]
        lines.append(f"{'p':>6}" + "".join(f"{method:>15}" for method in found))
        of = [intervals.mean_error(values.T) for _, values in found.values()]
        for k, p in enumerate(levels):
            said = (tables.number(m[k], e[k], width=8) for m, e in of)
            lines.append(f"{p:>6g}{''.join(said)}")
    lines += ["", "pseudo-likelihood of training images, nats; first epoch | last"]
    for method in MACHINES:
        of: dict[float, list[list[float]]] = {}
        for row in rows:
            if row["method"] == method:
                of.setdefault(row["p"], []).append(row["pseudo_likelihood"])
        for p, values in of.items():
            mean = np.array(values).mean(axis=0)
            first = f"{mean[0]:>9.1f} |" if len(mean) > 1 else f"{'|':>11}"
            lines.append(f"{p:>6g} {method:>9} {first}{mean[-1]:>9.1f}")
    return "\n".join([*lines, *verdicts.lines(expectations(rows)), ""])


def expectations(rows: Sequence[Row]) -> list[Expected]:
    """What is expected of machines.

    Of levels below 1, where every method guesses; of corruptions with levels only.
    """
    if KINDS[rows[0]["corruption"]].of_width:
        return []
    chance, lines = 1 / rows[0]["classes"], []
    for method, regime in itertools.product(MACHINES, ("train", "both")):
        found = curves(rows, regime)
        if method not in found:
            continue
        p, values = found[method]
        mean, errors = intervals.mean_error(values.T)
        heavy, heaviest = (p >= 0.6) & (p < 1), p >= 0.9
        about = f"{method}, {'clean' if regime == 'train' else 'corrupted'} test: "
        if 0 in p:
            lines.append(Expected(what=f"{about}p = 0", own=values[0], least=0.8))
        if len(p) > 1:
            # at chance neighbouring levels differ by luck
            rise = np.diff(mean) - 2 * np.hypot(errors[1:], errors[:-1])
            claim = f"{about}largest rise with p, less 2 errors"
            lines.append(Expected(what=claim, own=[rise.max()], most=0.0))
        for other in ("raw", "mlp"):
            if other in found and heavy.any():
                gap = (found[other][1].mean(axis=1) - mean)[heavy].min()
                claim = f"{about}least of {other} less it, p >= .6"
                found_gap = Expected(what=claim, own=[gap], least=0.0, strictly=True)
                lines.append(found_gap)
        if heaviest.any():
            off = np.abs(mean - chance)[heaviest].max()
            claim = f"{about}farthest from chance, p >= .9"
            lines.append(Expected(what=claim, own=[off], most=0.03))
    return [dataclasses.replace(each, source="none; ours") for each in lines]


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """One panel for every regime: accuracy of all methods against the level."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(11.5, 4.2), layout="constrained")
    axes = fig.subplots(1, len(REGIMES), sharey=True)
    row = rows[0]
    corruption = KINDS[row["corruption"]]
    for ax, (regime, title) in zip(axes, REGIMES.items(), strict=True):
        for method, (p, values) in curves(rows, regime).items():
            colour = plots.PALETTE[METHODS.index(method)]
            plots.accuracy_curves(
                ax,
                p,
                *intervals.mean_error(values.T),
                label=_SAID[method],
                color=colour,
            )
        plots.chance_line(ax, row["classes"])
        ax.set_title(title, fontsize="small")
        ax.set_xlabel(f"corruption {corruption.axis}")
        ax.set_ylim(0, 1)
        ax.label_outer()
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].set_ylabel("test accuracy (bars: standard error)")
    fig.legend(handles, labels, loc="outside lower center", ncols=6, fontsize="small")
    fig.suptitle(
        f"{row['dataset']} ({row['normalise']}), {row['n_train']} training images, "
        f"frozen {row['corruption']}{corruption.by(row['noise'])}",
        fontsize="medium",
    )
    return fig
