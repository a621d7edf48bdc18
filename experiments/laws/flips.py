"""Decisions that leave the class mean: predicted and observed, in bins of stability."""

from collections.abc import Sequence

import numpy as np

import theory
from experiments.harness.run_directory import Row

_NAMES = ("points", "predicted", "observed", "low", "high", "stderr")
HEAD = (
    f"{'p':>6} {'up to':>6} {'points':>7} {'predicted':>10} {'observed':>9} "
    f"{'±draws':>7}  binomial 95 %"
)


def in_bins(
    law: theory.OutputLaw, draws: theory.Draws, rule: np.ndarray, inits: int | None
) -> list[Row]:
    """Returns flips that the law predicts beside those of the draws, a row per bin.

    Args:
        law: of the outputs that decide, `averaged(inits)` where that is given.
        draws: measured.
        rule: decisions of the class-mean rule.
        inits: networks in the mean that decides; None for all.
    """
    found = theory.reliability(
        theory.flip_probability(law, rule), theory.observed_flips(draws, rule, inits)
    )
    return [
        {"up_to": float(edge)}
        | {name: float(getattr(found, name)[i]) for name in _NAMES if found.points[i]}
        for i, edge in enumerate(found.edges[1:])
    ]


def lines(p: float, bins: Sequence[Row]) -> list[str]:
    """Returns the bins that hold points as lines under `HEAD`."""
    return [
        f"{p:>6g} {line['up_to']:>6g} {line['points']:>7.0f} "
        f"{line['predicted']:>10.4f} {line['observed']:>9.4f} "
        f"{line['stderr']:>7.4f}  [{line['low']:.4f}, {line['high']:.4f}]"
        for line in bins
        if "points" in line
    ]
