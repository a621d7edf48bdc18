"""Numbers of trained networks with their errors and intervals, over repeats."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import theory
from experiments.harness.run_directory import Row
from ntk_corrupt.curves import bootstrap

_RESAMPLES = 300


def repeats(rows: Sequence[Row], name: str) -> np.ndarray:
    """Returns `name` of every repeat and level, (R, levels), of rows of one size.

    Cut to the repeats that all levels have: their first ones share images.
    """
    least = min(len(row[name]) for row in rows)
    return np.array([row[name][:least] for row in rows], float).T


def levels(rows: Sequence[Row]) -> np.ndarray:
    """Returns the levels of rows."""
    return np.array([row["p"] for row in rows])


def mean_error(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over repeats, the first axis; NaN of one repeat."""
    error = np.apply_along_axis(theory.standard_error, 0, samples)
    return samples.mean(axis=0), error


def interval(
    statistic: Callable[[Any], float], samples: np.ndarray
) -> bootstrap.Interval:
    """Interval of a statistic of the mean over repeats; no ends of one repeat."""
    if len(samples) < 2:
        value = float(statistic(samples.mean(axis=0)))
        return bootstrap.percentiles(value, [np.nan], 0.95)
    rng = np.random.default_rng(0)
    return bootstrap.bootstrap(statistic, samples, rng=rng, resamples=_RESAMPLES)


def sure(found: bootstrap.Interval) -> bool:
    """Whether few enough resamples have no fit."""
    return found.failed <= 0.02 * found.resamples


def interval_text(found: bootstrap.Interval, sign: str = "") -> str:
    """A number with its interval, and how many fits failed if they are many."""
    number = f"{sign}.3f"
    failed = (
        "" if sure(found) else f" ({found.failed} of {found.resamples} fits failed)"
    )
    return (
        f"{found.value:{number}} [{found.low:{number}}, {found.high:{number}}]{failed}"
    )
