"""Where a curve falls through a level, without a model."""

import numpy as np
from numpy.typing import ArrayLike

from theory.errors import InputError
from theory.numerics import doors
from theory.numerics.signatures import checked


def check_fraction(name: str, value: float) -> None:
    """Raises `InputError` on a number that is no share."""
    if not 0 < value < 1:
        raise InputError(f"`{name}` must be between 0 and 1, got {value}.")


def sorted_curve(
    x: ArrayLike, y: ArrayLike, *, names: tuple[str, str], least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns x and y in ascending order of x, and that order.

    Raises:
        InputError: unless both are finite (n,) with n >= `least` different x.
    """
    x, y = doors.host(names[0], x), doors.host(names[1], y)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(
            f"`{names[1]}` must have one entry per `{names[0]}`, got shapes {y.shape} "
            f"and {x.shape}."
        )
    for name, values in zip(names, (x, y), strict=True):
        if not np.isfinite(values).all():
            bad = values[~np.isfinite(values)][0]
            raise InputError(f"`{name}` must be finite, got {bad}.")
    if np.unique(x).size < max(least, x.size):
        raise InputError(
            f"`{names[0]}` must hold at least {least} values, all different, got "
            f"{x.tolist()}."
        )
    order = np.argsort(x)
    return x[order], y[order], order


def first_crossing(x: np.ndarray, curve: np.ndarray, level: float) -> np.ndarray:
    """Where the running minimum of each curve first comes down to a level.

    Args:
        x: increasing (n,).
        curve: (..., n), linear between points; a NaN ends it.
        level: to be reached from above.

    Returns:
        (...), NaN where the curve starts below the level or never reaches it.
    """
    lowest = np.minimum.accumulate(np.asarray(curve, float), axis=-1)
    reached = lowest <= level
    i = reached.argmax(axis=-1)
    before = np.maximum(i - 1, 0)
    a, b = (
        np.take_along_axis(lowest, k[..., None], axis=-1)[..., 0] for k in (before, i)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = x[before] + (a - level) / (a - b) * (x[i] - x[before])
    start = np.where(lowest[..., 0] == level, x[0], np.nan)
    return np.where(reached.any(axis=-1) & (i > 0), inside, start)


@checked
def half_height(strength: ArrayLike, accuracy: ArrayLike, *, chance: float) -> float:
    """Strength at which half of the way from the first accuracy to chance is lost.

    Model-free: the curve is the nearest one (least squares) that never rises, linear
    between points.

    Args:
        strength: (n,), in any order.
        accuracy: (n,).
        chance: accuracy of guessing, in (0, 1).

    Returns:
        The strength; NaN where half height is never reached.

    Raises:
        InputError: unless there are at least two different strengths, all finite.
    """
    from sklearn.isotonic import IsotonicRegression

    x, y, _ = sorted_curve(strength, accuracy, names=("strength", "accuracy"), least=2)
    check_fraction("chance", chance)
    falling = IsotonicRegression(increasing=False).fit_transform(x, y)
    if falling[0] <= chance:
        return float("nan")
    return float(first_crossing(x, falling, (falling[0] + chance) / 2))


@checked
def crossover(strength: ArrayLike, median: ArrayLike, level: float = 1.0) -> float:
    """Returns the strength where a falling median score first is `level`, or NaN."""
    strength, median = doors.host("strength", strength), doors.host("median", median)
    below = np.flatnonzero(median <= level)
    if not below.size or below[0] == 0:
        return float(strength[0]) if below.size and median[0] == level else np.nan
    j = below[0]
    share = (median[j - 1] - level) / (median[j - 1] - median[j])
    return float(strength[j - 1] + share * (strength[j] - strength[j - 1]))


@checked
def threshold_crossing(
    p: ArrayLike, accuracy: ArrayLike, threshold: float
) -> np.ndarray:
    """Level at which the running minimum of a curve first comes down to a threshold.

    Args:
        p: increasing levels (P,).
        accuracy: (..., P), linear between levels; a NaN ends a curve.
        threshold: accuracy to be reached from above.

    Returns:
        (...), NaN where a curve starts below the threshold or never reaches it.

    Raises:
        InputError: if p does not increase or does not fit the curves.
    """
    p, accuracy = doors.host("p", p), doors.host("accuracy", accuracy)
    check_fraction("threshold", threshold)
    if np.isinf(accuracy).any():
        raise InputError("`accuracy` must not be infinite.")
    check_levels(p, accuracy)
    return first_crossing(p, accuracy, threshold)


def check_levels(p: np.ndarray, accuracy: np.ndarray) -> None:
    """Raises `InputError` unless p rises and fits the curves."""
    if p.ndim != 1 or p.size < 2 or not (np.diff(p) > 0).all() or np.isinf(p).any():
        raise InputError(
            f"`p` must hold two increasing levels or more, got {p.tolist()}."
        )
    if accuracy.shape[-1:] != p.shape:
        raise InputError(
            f"`accuracy` must have one entry per level on its last axis, {p.size}, got "
            f"shape {accuracy.shape}."
        )
