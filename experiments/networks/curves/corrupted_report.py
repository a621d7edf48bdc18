"""Accuracies on corrupted test images: a table, verdicts and a figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.harness.run_directory import Row, RunDirectory
from experiments.shared import intervals, reference, settings
from experiments.shared.corruptions import KINDS
from experiments.shared.verdicts import Expected, lines
from ntk_corrupt import plots

_ARMS = {"clean": "trained clean", "same": "trained at the level of the test"}
# Accuracy on clean images that is expected of MNIST, by training images from so many on
_EXPECTED = {2000: 0.85, 50_000: 0.97}


def _curves(rows: Sequence[Row]):
    """By activation and arm: levels, accuracies and spreads (repeats, levels), rows."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["p"]):
        found.setdefault((row["activation"], row["arm"]), []).append(row)
    return {
        at: (
            np.concatenate([row["p_test"] for row in group]),
            np.concatenate([row["corrupted"] for row in group], axis=1),
            np.concatenate([row["spread"] for row in group], axis=1),
            group,
        )
        for at, group in found.items()
    }


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Accuracy, its error over networks and spread over corruptions; verdicts."""
    said = []
    for (activation, arm), (levels, accuracy, spread, group) in _curves(rows).items():
        mean, error = intervals.mean_error(accuracy)
        said += [
            "",
            f"{activation}, {_ARMS[arm]}",
            "p        " + "".join(f"{p:>8g}" for p in levels),
            "accuracy " + "".join(f"{value:>8.3f}" for value in mean),
            "±        " + "".join(f"{value:>8.3f}" for value in error),
            "spread   " + "".join(f"{value:>8.4f}" for value in spread.mean(axis=0)),
        ]
        if arm == "same":
            clean = intervals.repeats(group, "clean").mean(axis=0)
            alive = intervals.repeats(group, "alive").mean(axis=0)
            said.append("clean    " + "".join(f"{value:>8.3f}" for value in clean))
            said.append("alive    " + "".join(f"{value:>8.2f}" for value in alive))
    said.append("(spread: standard deviation over corruptions of the test images)")
    published = reference.report("corrupted_tests", rows, _published)
    return "\n".join([*said, *lines(_expected(rows)), *published, ""])


def _published(group: Sequence[Row], entry: dict[str, Any]) -> float | None:
    """Our number for an entry of the published figures."""
    for row in group:
        if entry["p_test"] in row["p_test"]:
            at = row["p_test"].index(entry["p_test"])
            return float(np.mean(row["corrupted"], axis=0)[at])
    return None


def _expected(rows: Sequence[Row]) -> list[Expected]:
    """Clean accuracy on MNIST; chance where nothing of the image is left."""
    found = []
    row = rows[0]
    least = [a for n, a in _EXPECTED.items() if n <= row["n_train"]]
    noise = not KINDS[row["corruption"]].of_width
    for (activation, arm), (levels, accuracy, _, group) in _curves(rows).items():
        name = f"{activation}, {_ARMS[arm]}"
        for level, values in zip(levels, accuracy.T, strict=True):
            if level == 0 and least and row["dataset"] == "mnist":
                what = f"{name}: p = 0"
                found.append(Expected(what=what, own=values, least=least[-1]))
            if level == 1 and noise:
                chance = 1 / row["classes"]
                ends = {"least": chance - 0.03, "most": chance + 0.03}
                found.append(Expected(what=f"{name}: p = 1", own=values, **ends))
                if arm == "same":
                    what = f"{activation}, trained at p = 1: clean images"
                    found.append(Expected(what=what, own=group[-1]["clean"], **ends))
    return found


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Accuracy over the level for both arms; its spread over corruptions."""
    from matplotlib.figure import Figure

    found = _curves(rows)
    names = list(dict.fromkeys(activation for activation, _ in found))
    fig = Figure(figsize=(9.5, 3.8), layout="constrained")
    left, right = fig.subplots(1, 2)
    for (activation, arm), (levels, accuracy, spread, _) in found.items():
        colour = plots.PALETTE[names.index(activation) % len(plots.PALETTE)]
        look = {"color": colour, "linestyle": "-" if arm == "clean" else "--"}
        mean, error = intervals.mean_error(accuracy)
        label = f"{activation}, {_ARMS[arm]}"
        plots.accuracy_curves(left, levels, mean, error, label=label, **look)
        right.plot(levels, spread.mean(axis=0), "o", label=label, **look)
    plots.chance_line(left, rows[0]["classes"])
    left.set(xlabel="level of test images", ylim=(0, 1))
    right.set(
        xlabel="level of test images",
        ylabel="standard deviation over corruptions",
    )
    handles, labels = left.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside right center", fontsize="small")
    about = {**rows[0], "activation": ", ".join(names)}
    fig.suptitle(settings.title(about), fontsize="medium")
    return fig
