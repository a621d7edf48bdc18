"""Where accuracy falls through a threshold, and its power law in a size."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

from ntk_corrupt.curves import first_crossing
from theory.compare import fit_line
from theory.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """distance = amplitude * size^-exponent, fitted to logarithms.

    Attributes:
        amplitude, exponent: of the law; NaN with fewer than two sizes.
        exponent_stderr: standard error of the exponent, from the scatter; NaN with
            fewer than three points.
        r2: share of the variance of log distance that the law explains.
        used, dropped: points fitted, and left out as NaN.
    """

    amplitude: float
    exponent: float
    exponent_stderr: float
    r2: float
    used: int
    dropped: int


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
    p, accuracy = np.asarray(p, float), np.asarray(accuracy, float)
    check_levels(p, accuracy)
    return first_crossing(p, accuracy, threshold)


def power_law(sizes: ArrayLike, distance: ArrayLike) -> PowerLaw:
    """Fits distance = a size^-beta, such as 1 - p_c against the batch size.

    Args:
        sizes: positive (n,).
        distance: positive (n,); NaNs are dropped and counted.

    Raises:
        InputError: if shapes differ or a number is not positive.
    """
    sizes, distance = np.asarray(sizes, float), np.asarray(distance, float)
    if sizes.ndim != 1 or sizes.shape != distance.shape:
        raise InputError(
            f"`distance` must have one entry per size, got shapes {distance.shape} and "
            f"{sizes.shape}."
        )
    kept = ~np.isnan(distance)
    for name, values in (("sizes", sizes), ("distance", distance[kept])):
        if not ((values > 0) & np.isfinite(values)).all():
            raise InputError(
                f"`{name}` must be positive and finite, got {min(values)}."
            )
    x, y = np.log(sizes[kept]), np.log(distance[kept])
    counts = {"used": x.size, "dropped": distance.size - x.size}
    if np.unique(x).size < 2:
        x = y = np.array([math.nan])  # and so is every number of the line
    line = fit_line(x, y)
    freedom = max(x.size - 2, 0)
    return PowerLaw(
        amplitude=math.exp(line.intercept),
        exponent=-line.slope,
        exponent_stderr=line.rmse / x.std() / freedom**0.5 if freedom else math.nan,
        r2=line.r2,
        **counts,
    )


def check_levels(p: np.ndarray, accuracy: np.ndarray) -> None:
    """Raises `InputError` unless p rises and fits the curves."""
    if p.ndim != 1 or p.size < 2 or not (np.diff(p) > 0).all():
        raise InputError(
            f"`p` must hold two increasing levels or more, got {p.tolist()}."
        )
    if accuracy.shape[-1:] != p.shape:
        raise InputError(
            f"`accuracy` must have one entry per level on its last axis, {p.size}, got "
            f"shape {accuracy.shape}."
        )
