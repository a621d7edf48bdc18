"""Accuracy over the share of wrong labels: a slope, or a transition somewhere?"""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.harness.run_directory import Row
from experiments.shared.verdicts import Expected

LEAST = 4  # shares, below which nothing is said
STEEP = 3.0  # steepest fall over the median one that is called a transition
_CURVES = (
    ("whole head", "full"),
    ("cut, d by validation", "truncated"),
    ("stopped by validation", "stop"),
)


def falls(
    groups: Mapping[float, Sequence[Row]], of: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns where neighbouring shares meet, and falls per share there (repeats, k).

    Args:
        groups: rows by share, of the same repeats.
        of: the accuracy.
    """
    shares = np.array(sorted(groups))
    least = min(map(len, groups.values()))
    values = np.array([[row[of] for row in groups[rho][:least]] for rho in shares])
    steps = -np.diff(values, axis=0) / np.diff(shares)[:, None]
    return (shares[1:] + shares[:-1]) / 2, steps.T


def lines(groups: Mapping[float, Sequence[Row]]) -> list[str]:
    """Returns where each accuracy falls the most, beside its median fall."""
    if len(groups) < LEAST:
        return []
    found = ["", "fall of accuracy per share of wrong labels, between neighbours"]
    for label, of in _CURVES:
        at, steps = falls(groups, of)
        mean = steps.mean(axis=0)
        worst = int(mean.argmax())
        each = ", ".join(f"{at[k]:.3g}" for k in steps.argmax(axis=1))
        found.append(
            f"{label:>24}  " + " ".join(f"{fall:6.2f}" for fall in mean)
            + f"  steepest at {at[worst]:.3g} (repeats: {each})"
        )  # fmt: skip
    return found


def expected(groups: Mapping[float, Sequence[Row]]) -> list[Expected]:
    """Whether the fall is steep somewhere: steepest over the median, per repeat.

    The source's abstract speaks of no transition; the factor is ours.
    """
    if len(groups) < LEAST:
        return []
    found = []
    for label, of in _CURVES:
        _, steps = falls(groups, of)
        middle = np.median(steps, axis=1)
        # nothing falls: no transition
        ratio = np.where(middle > 0, steps.max(axis=1) / np.maximum(middle, 1e-9), 0.0)
        found.append(
            Expected(
                what=f"no transition, {label}: steepest over median fall",
                own=ratio,
                most=STEEP,
            )
        )
    return found
