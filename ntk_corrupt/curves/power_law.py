"""Where accuracy falls through a threshold, and its power law in a size."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

from theory.errors import InputError
from theory.numerics import doors
from theory.numerics.signatures import checked
from theory.outputs.statistics import fit_line


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


@checked
def power_law(sizes: ArrayLike, distance: ArrayLike) -> PowerLaw:
    """Fits distance = a size^-beta, such as 1 - p_c against the batch size.

    Args:
        sizes: positive (n,).
        distance: positive (n,); NaNs are dropped and counted.

    Raises:
        InputError: if shapes differ or a number is not positive.
    """
    sizes, distance = doors.host("sizes", sizes), doors.host("distance", distance)
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
    if np.unique(x).size < 2:  # no line
        return PowerLaw(
            amplitude=math.nan,
            exponent=math.nan,
            exponent_stderr=math.nan,
            r2=math.nan,
            **counts,
        )
    line = fit_line(x, y)
    freedom = max(x.size - 2, 0)
    return PowerLaw(
        amplitude=math.exp(line.intercept),
        exponent=-line.slope,
        exponent_stderr=line.rmse / x.std() / freedom**0.5 if freedom else math.nan,
        r2=line.r2,
        **counts,
    )
