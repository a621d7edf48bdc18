"""Standard errors, and a line through points with its goodness of fit."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

from theory.errors import InputError
from theory.numerics import doors
from theory.numerics.signatures import checked


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """Least squares of y against x.

    Attributes:
        slope, intercept: of the line.
        r2: share of the variance of y that it explains, after the known error of y; NaN
            where that error is half of the variance or more.
        rmse: root mean square of what it leaves, error included.
    """

    slope: float
    intercept: float
    r2: float
    rmse: float


@checked
def fit_line(x: np.ndarray, y: np.ndarray, error: float = 0.0) -> Line:
    """Fits a line to all entries; `error` is the known mean square error of y."""
    x, y = doors.host("x", x), doors.host("y", y)
    if not 0 <= error < math.inf:
        raise InputError(f"`error` must be finite and not negative, got {error}.")
    if x.shape != y.shape or not x.size:
        raise InputError(f"`y` must be of the shape of `x`, {x.shape}, got {y.shape}.")
    dx, dy = x - x.mean(), y - y.mean()
    slope = ratio(float((dx * dy).sum()), float((dx**2).sum()))
    left, total = float(((dy - slope * dx) ** 2).mean()), float((dy**2).mean())
    return Line(
        slope=slope,
        intercept=float(y.mean() - slope * x.mean()),
        r2=1 - ratio(left - error, total - error) if error <= total / 2 else math.nan,
        rmse=left**0.5,
    )


def ratio(over: float, under: float) -> float:
    """over/under, NaN for 0/0 and infinite for x/0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(over) / np.float64(under))


def standard_error(values: ArrayLike) -> float:
    """Returns the standard error of the mean, NaN for fewer than two values."""
    values = doors.host("values", values)
    if values.size < 2:
        return float("nan")
    return float(values.std(ddof=1) / values.size**0.5)
