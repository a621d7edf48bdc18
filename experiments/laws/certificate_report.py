"""Certain decisions: table and figure."""

import itertools
from collections.abc import Sequence

import numpy as np

from experiments.harness.run_directory import Row, RunDirectory
from experiments.laws.certificate import STABLE, WAYS
from ntk_corrupt import plots


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Shares by setting and level, and the sums that a theorem has to keep."""
    lines = [
        "",
        "share of (draw, test image) whose class-mean decision ...",
        f"{'activation':<10} {'N':>5} {'pixels':>7} {'p':>6} {'is kept':>8} "
        f"{'by law':>7} {'certified by'.rjust(9 * len(WAYS))}"
        f" {'ratio':>6} {'least':>6} {'gap/bound':>9} {'stable':>7}",
        " " * 48 + "".join(f"{name:>9}" for name in WAYS),
    ]
    for row in rows:
        lines.append(
            f"{row['activation']:<10} {row['n_train']:>5} {row['pixels']:>7} "
            f"{row['p']:>6g} {row['kept']:>8.3f} {row['law_keeps']:>7.3f} "
            + "".join(f"{row['certified'][name]:>9.3f}" for name in WAYS)
            + f" {row['ratio']:>6.2f} {row['least']:>6.2f} "
            f"{row['gap_over_bound']:>9.3g} {row['stable']:>7.3f}"
        )
    broken = sum(sum(row["broken"].values()) for row in rows)
    lines += [
        "",
        f"certified decisions that exact kernels of the same draws flip: {broken}",
        "of images that no draw flips, the share that is not certified in all draws:",
    ]
    for name in WAYS:
        missed = [row["kept_uncertified"][name] for row in rows]
        lines.append(f"  {name:<9} {min(missed):.3f} to {max(missed):.3f}")
    lines += [f"stable: flips in at most {STABLE:g} of draws, by the law", ""]
    return "\n".join(lines)


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Shares over pixels, a panel for every level; solid certified, dashed kept."""
    from matplotlib.figure import Figure

    levels = sorted({row["p"] for row in rows})
    fig = Figure(figsize=(3.2 * len(levels) + 1.5, 3.6), layout="constrained")
    axes = np.atleast_1d(fig.subplots(1, len(levels), sharey=True))
    groups = sorted({(row["activation"], row["n_train"]) for row in rows})
    for ax, p in zip(axes, levels, strict=True):
        for (activation, n), colour in zip(groups, itertools.cycle(plots.PALETTE)):
            own = [
                row
                for row in rows
                if (row["activation"], row["n_train"], row["p"]) == (activation, n, p)
            ]
            own.sort(key=lambda row: row["pixels"])
            pixels = [row["pixels"] for row in own]
            for style, values in (
                ("-o", [row["certified"]["bound"] for row in own]),
                (":", [row["certified"]["order 4"] for row in own]),
                ("--", [row["kept"] for row in own]),
            ):
                label = f"{activation}, N = {n}" if style == "-o" else None
                ax.plot(pixels, values, style, color=colour, label=label, ms=4)
        ax.set_xscale("log")
        ax.set_xlabel("pixels")
        ax.set_title(f"p = {p:g}")
        ax.set_ylim(-0.03, 1.03)
    axes[0].set_ylabel("share of decisions of the class mean")
    axes[0].legend(fontsize="small")
    for style, name in (
        ("-o", "certified"),
        (":", "four orders summed"),
        ("--", "kept"),
    ):
        axes[-1].plot([], [], style, color="0.3", label=name, ms=4)
    handles = axes[-1].get_lines()[-3:]
    axes[-1].legend(handles=handles, fontsize="small")
    about = rows[0]
    fig.suptitle(
        f"{about['dataset']} ({about['normalise']}), {about['corruption']} by "
        f"{about['noise']}, depth {about['depth']}",
        fontsize="medium",
    )
    return fig
