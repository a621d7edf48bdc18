"""Rows of `law_against_kernel` as tables and a figure.

A row has, for each size of average over initialisations, the law's accuracy and those
of exact and surrogate draws, of which the first share the corrupted images; and what
their outputs, spreads and flips say.
"""

from collections.abc import Sequence

import numpy as np

import theory
from experiments.harness.run_directory import Row, RunDirectory
from experiments.laws import flips
from experiments.shared import settings, tables
from ntk_corrupt import plots


def controlled(
    exact: Sequence[float], surrogate: Sequence[float]
) -> tuple[float, float]:
    """Returns mean and standard error of `exact` with `surrogate` as control variate.

    The first surrogates are those of the exact draws.
    """
    follows = np.asarray(surrogate)
    rest = np.asarray(exact) - follows[: len(exact)]
    error = np.hypot(theory.standard_error(rest), theory.standard_error(follows))
    return float(rest.mean() + follows.mean()), float(error)


def _lines(rows: Sequence[Row], inits: str) -> list[str]:
    lines: list[str] = []
    for row in rows:
        law = row[f"law{inits}"]
        exact = row[f"exact{inits}"]
        mean, error = controlled(exact, row[f"surrogate{inits}"])
        raw = theory.standard_error(np.asarray(exact))
        rest = np.asarray(exact) - np.asarray(row[f"surrogate{inits}"])[: len(exact)]
        followed = rest.mean(), theory.standard_error(rest)
        lines.append(
            f"{row['p']:>6g} {row['subset']:>6d}   {law:.4f}"
            f"  {tables.number(np.mean(exact), raw, digits=4)}"
            f"  {tables.number(mean, error, digits=4)}   {law - mean:+.4f}   "
            f"{tables.number(*followed, digits=4, sign='+')}   "
            f"{row['level']:<10}{'' if row['valid'] else 'not valid: ' + row['doubts']}"
        )
    return lines


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Law and exact kernel by level, raw and with the control variate."""
    rows = sorted(rows, key=lambda row: (row["subset"], row["p"]))
    head = (
        f"{'p':>6} {'subset':>6}   law     exact draws     with control     "
        "law - exact  exact - surrogate  level"
    )
    lines = ["", "average over all initialisations", head, *_lines(rows, "")]
    if rows[0]["single"]:
        lines += ["", "one network", head, *_lines(rows, "_1")]
        lines += ["", "mean of 10 networks", head, *_lines(rows, "_10")]
    lines += [
        "",
        f"{'p':>6} {'slope':>8} {'R2':>8} {'spread':>8} {'sd(acc)':>9} {'law':>8}"
        + (f" {'init_var':>10} {'law':>9}" if rows[0]["single"] else ""),
    ]
    for row in rows:
        sd = np.std(row["exact"], ddof=1)
        slope, r2 = np.array([row["slope"], row["r2"]], float)  # null is NaN
        text = (
            f"{row['p']:>6g} {slope:>8.4f} {r2:>8.4f} "
            f"{row['spread_ratio']:>8.3f} {sd:>9.4f} {row['law_std']:>8.4f}"
        )
        if row["single"]:
            text += f" {row['exact_init_var']:>10.5f} {row['law_init_var']:>9.5f}"
        lines.append(text)
    for inits, name in (
        ("inf", "average over all initialisations"),
        ("1", "one network"),
    ):
        if inits in rows[0]["reliability"]:
            lines += [
                "",
                f"flips of the class-mean decision, {name}",
                flips.HEAD,
                *(
                    text
                    for row in rows
                    for text in flips.lines(row["p"], row["reliability"][inits])
                ),
            ]
    return "\n".join([*lines, ""])


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Accuracy by law and kernel above, their difference below."""
    from matplotlib.figure import Figure

    rows = sorted(rows, key=lambda row: row["p"])
    levels = np.array(sorted({row["p"] for row in rows}))
    fig = Figure(figsize=(7.0, 6.0), layout="constrained")
    top, bottom = fig.subplots(2, 1, height_ratios=[2, 1], sharex=True)
    names = [("", "mean of all initialisations")]
    if rows[0]["single"]:
        names += [("_10", "mean of 10 networks"), ("_1", "one network")]
    for (inits, label), colour in zip(names, plots.PALETTE, strict=False):
        law = np.array([row[f"law{inits}"] for row in rows])
        exact = np.array(
            [controlled(row[f"exact{inits}"], row[f"surrogate{inits}"]) for row in rows]
        )
        p = np.array([row["p"] for row in rows])
        top.plot(p, law, color=colour, label=f"law, {label}")
        top.errorbar(p, exact[:, 0], 2 * exact[:, 1], fmt="o", color=colour, ms=3)
        bottom.errorbar(
            p, law - exact[:, 0], 2 * exact[:, 1], fmt="o-", color=colour, ms=3
        )
    bottom.axhline(0, color="0.5", linewidth=1)
    bottom.set_ylabel("law - exact")
    top.set_ylabel("accuracy on clean images")
    top.legend(fontsize="small", frameon=False)
    plots.corruption_axis(bottom, levels)
    fig.suptitle(settings.title(rows[0]), fontsize="medium")
    return fig
