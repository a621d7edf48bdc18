"""Margins that predict flips: settings, cells, table, figure."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import special
from sklearn import metrics

from experiments.harness.flags import setting
from experiments.harness.lines import known
from experiments.harness.run_directory import Cell, Row, RunDirectory
from experiments.shared import intervals, settings, tables, trained
from ntk_corrupt import plots
from ntk_corrupt.curves import crossings
from ntk_corrupt.probes import margin_scores, margins
from theory.errors import InputError

_NAMES = (*margin_scores.SCORES, "margin")
_SAID = {
    "seed": "seed: at the clean image",
    "shift": "shift: moved to first order",
    "mid": "mid: at the mean corrupted image",
    "curved": "curved: mid to second order",
    "margin": "margin alone",
}
_BINS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class MarginSettings(trained.Samples, trained.Networks):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.2, 0.4, 0.6, 0.8, 0.9),
        "corruption levels; without noise no image has a score",
        above=0,
    )
    normalise: str = setting(
        "unit", "pixel scale; on centred pixels corruption shrinks the mean image only"
    )
    noise: str = setting(
        "uniform(0,1)", "law of a noise pixel, e.g. uniform(0,1), normal"
    )
    images: int = setting(3000, "test images, the most, that corruption is tried on")
    corruptions: int = setting(1, "fresh corruptions of each test image")
    curvature: int = setting(
        0, "random directions for the curvature of the margin", least=0
    )


def check(config: MarginSettings) -> None:
    """Raises `InputError` on bad settings."""
    for name, least in (("images", _BINS), ("corruptions", 1), ("curvature", 0)):
        if getattr(config, name) < least:
            raise InputError(
                f"`--{name}` must be at least {least}, got {getattr(config, name)}."
            )
    trained.check(config)


def cells(config: MarginSettings) -> list[Cell]:
    """One cell per level."""
    own = ("images", "corruptions", "curvature")
    asked = {name: getattr(config, name) for name in own}
    return [Cell({**trained.cell(config, p).settings, **asked}) for p in config.p]


def compute(config: MarginSettings, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: what is measured, (repeats, images)."""
    config, p = settings.settled(config, cell), cell.settings["p"]

    def probes_of(problem, noise, key):
        x, labels = trained.some(problem, config.images)
        return (
            margins.Margins(
                corruption=noise,
                x=x,
                labels=labels,
                repeats=config.corruptions,
                curvature_probes=config.curvature,
            ),
        )

    found, verdicts = [], []
    for repeat in range(config.repeats):
        _, nets = trained.train(config, p, repeat, probes_of)
        found.append(margin_scores.measured(trained.said(nets)))
        verdicts.append(margin_scores.judge(found[-1]))
    row: Row = {
        "scores": {
            name: [known(verdict[name]._asdict()) for verdict in verdicts]
            for name in verdicts[0]
        }
    }
    parts = [name for name, part in found[0]._asdict().items() if part is not None]
    return row, {
        name: np.stack([getattr(each, name) for each in found]) for name in parts
    }


def _of(row: Row, score: str, number: str) -> np.ndarray:
    """A number of a score, over repeats."""
    return np.array([verdict[number] for verdict in row["scores"][score]], float)


def estimate(config: MarginSettings, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    settled = settings.settled(config, cell)
    images = min(settled.images, settled.n_test or 10_000)
    seen = images * (settled.corruptions + settled.curvature)
    tests = settled.repeats * seen * 784 * (settled.width * 2e-11 + 5e-9)
    return trained.estimate(settled, cell) + tests


def _mean(values: np.ndarray) -> str:
    return tables.number(*intervals.mean_error(values), width=7)


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Areas under the curve, failures, medians and where they cross one."""
    rows = sorted(rows, key=lambda row: row["p"])
    names = [name for name in (*_NAMES, "curved") if name in rows[0]["scores"]]
    lines = [
        "",
        "area under the ROC curve of -z for failure, of images right when clean",
    ]
    lines.append(f"{'p':>6}" + "".join(f"{name:>15}" for name in names))
    for row in rows:
        lines.append(
            f"{row['p']:>6g}" + "".join(f" {_mean(_of(row, n, 'auc'))}" for n in names)
        )
    scores = [name for name in names if name != "margin"]
    lines += ["", "share of images that fail, and as predicted by each score"]
    lines.append(f"{'p':>6}{'fails':>15}" + "".join(f"{name:>15}" for name in scores))
    for row in rows:
        lines.append(
            f"{row['p']:>6g} {_mean(_of(row, 'mid', 'failed'))}"
            + "".join(f" {_mean(_of(row, n, 'predicted'))}" for n in scores)
        )
    lines += ["", "median score of the images right when clean; images without score"]
    lines.append(f"{'p':>6}" + "".join(f"{name:>15}" for name in scores))
    for row in rows:
        lines.append(
            f"{row['p']:>6g}"
            + "".join(f" {_mean(_of(row, n, 'median'))}" for n in scores)
            + f"  {int(_of(row, 'mid', 'dropped').sum())}"
        )
    return "\n".join([*lines, "", _crossovers(rows, scores), ""])


def _crossovers(rows: Sequence[Row], scores: Sequence[str]) -> str:
    p = np.array([row["p"] for row in rows])
    found = {}
    for name in scores:
        medians = np.array([_of(row, name, "median") for row in rows])
        found[name] = [crossings.crossover(p, each) for each in medians.T]
    return "median score falls to 1 at p = " + "; ".join(
        f"{name} " + ", ".join(f"{value:.3f}" for value in values)
        for name, values in found.items()
    )


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """ROC of the score "mid", its reliability, and areas over the level."""
    from matplotlib.figure import Figure

    rows = sorted(rows, key=lambda row: row["p"])
    fig = Figure(figsize=(13.0, 3.8), layout="constrained")
    roc, reliability, areas = fig.subplots(1, 3)
    for row, colour in zip(rows, plots.PALETTE * 3, strict=False):
        arrays = directory.arrays(row)
        found = margin_scores.MeasuredMargins(
            **{k: v.ravel() for k, v in arrays.items()}
        )
        z = found.scores()["mid"]
        right = (found.margin > 0) & np.isfinite(z)
        failed = found.failure > 0.5
        label = f"p = {row['p']:g}"
        if failed[right].any() and not failed[right].all():
            false, true, _ = metrics.roc_curve(failed[right], -z[right])
            roc.plot(false, true, color=colour, label=label)
        centre, share, error = margin_scores.failures_by_score(z, found.failure, _BINS)
        reliability.errorbar(
            centre, share, yerr=error, fmt="o", color=colour, label=label
        )
    grid = np.linspace(*reliability.get_xlim(), 200)
    reliability.plot(grid, special.ndtr(-grid), color="0.4", label="$\\Phi(-z)$")
    reliability.set(xlabel="z: margin / deviation, mid", ylabel="share that fails")
    reliability.legend(fontsize="small")
    roc.plot([0, 1], [0, 1], ":", color="0.5")
    roc.set(xlabel="false alarms", ylabel="failures found", title="ROC of mid")
    reliability.set_title("bars: standard error", fontsize="medium")
    if roc.get_legend_handles_labels()[0]:  # none where nothing or all fails
        roc.legend(fontsize="small", loc="lower right")
    for name in (*_NAMES, "curved"):
        if name in rows[0]["scores"]:
            values = np.array([_of(row, name, "auc") for row in rows])
            areas.plot(
                [row["p"] for row in rows],
                values.mean(axis=1),
                "o-",
                label=_SAID[name],
            )
    areas.axhline(0.5, linestyle=":", color="0.5", label="by chance")
    areas.set(xlabel="corruption level", ylabel="area under the ROC curve")
    fig.legend(
        *areas.get_legend_handles_labels(),
        loc="outside right center",
        fontsize="small",
        title="margin / deviation",
        title_fontsize="small",
    )
    row = rows[0]
    fig.suptitle(
        f"{row['dataset']}, {row['n_train']} images ({row['normalise']}), "
        f"{row['noise_regime']} {row['corruption']}; {row['activation']}, depth "
        f"{row['depth']}, width {row['width']}",
        fontsize="medium",
    )
    return fig
