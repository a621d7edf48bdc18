"""Accuracy against the strength of a corruption: where it falls, how steeply, how sure.

A curve is a fall from a plateau to chance. Its midpoint and slope come from a sigmoid,
or from no model; intervals come from repeats of the experiment. Strengths are in any
unit, a level p or an amplitude sigma.
"""

import dataclasses

import numpy as np
import scipy.optimize
from numpy.typing import ArrayLike
from scipy.special import expit

from ntk_corrupt.curves.crossings import check_fraction, first_crossing, sorted_curve
from theory.errors import InputError
from theory.numerics import doors
from theory.numerics.signatures import checked


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sigmoid:
    """A(p) = chance + (top - chance) / (1 + exp((p - midpoint)/width)), fitted.

    Attributes:
        top: plateau at weak corruption.
        midpoint: strength at which half of the way to chance is lost.
        width: of the fall, in units of the strength.
        slope: |A'(midpoint)| = (top - chance) / (4 width).
        chance: accuracy of guessing, not fitted.
        rms: root mean square of what the fit leaves, weighted as the fit.
        ok: whether the points determine the parameters; if not, no number is an
            estimate.
        reason: why not, empty if ok.
    """

    top: float
    midpoint: float
    width: float
    slope: float
    chance: float
    rms: float
    ok: bool
    reason: str

    def at(self, strength: ArrayLike) -> np.ndarray:
        """Returns the fitted accuracy at any strengths, in their shape."""
        z = (np.asarray(strength, float) - self.midpoint) / self.width
        return self.chance + (self.top - self.chance) * expit(-z)

    def trusted(self, name: str) -> float:
        """Returns a parameter, or NaN where the fit is not ok."""
        return getattr(self, name) if self.ok else float("nan")


@checked
def fit_sigmoid(
    strength: ArrayLike,
    accuracy: ArrayLike,
    *,
    chance: float,
    weights: ArrayLike | None = None,
) -> Sigmoid:
    """Fits top, midpoint and width by bounded least squares; see `Sigmoid`.

    The lower plateau is fixed, at chance: free, it is ill-conditioned. The midpoint is
    kept within the strengths and `top - chance` below twice what was measured. A fit on
    a bound, or with no point where it falls, is not ok.

    Args:
        strength: (n,), n >= 4, in any order.
        accuracy: (n,).
        chance: accuracy of guessing, in (0, 1).
        weights: of the squared residuals (n,), as 1/variance; None for equal ones.

    Raises:
        InputError: if shapes differ, a number is not finite, or fewer than four points
            have weight.
    """
    x, y, order = sorted_curve(
        strength, accuracy, names=("strength", "accuracy"), least=4
    )
    check_fraction("chance", chance)
    share = np.ones_like(x) if weights is None else doors.host("weights", weights)
    if share.shape != x.shape or not (share >= 0).all() or (share > 0).sum() < 4:
        raise InputError(
            "`weights` must be one per strength, none negative and at least four "
            f"positive, got {share.tolist()}."
        )
    share = share[order] / share.sum()
    return _fit(x, y, share, chance)


def _fit(x: np.ndarray, y: np.ndarray, share: np.ndarray, chance: float) -> Sigmoid:
    """The fit, of increasing x and weights that add up to one."""
    span, height = float(np.ptp(x)), float(y.max()) - chance
    nan = float("nan")
    if height <= 0:
        return Sigmoid(
            top=nan, midpoint=nan, width=nan, slope=nan, chance=chance, rms=nan,
            ok=False, reason="the accuracy is never above chance",
        )  # fmt: skip
    u, v = (x - x[0]) / span, (y - chance) / height  # in the unit square

    def parts(theta):
        z = (u - theta[1]) / theta[2]
        return expit(-z), z

    def residual(theta):
        return np.sqrt(share) * (theta[0] * parts(theta)[0] - v)

    def jacobian(theta):
        s, z = parts(theta)
        by_midpoint = theta[0] * s * (1 - s) / theta[2]
        return np.sqrt(share)[:, None] * np.stack([s, by_midpoint, by_midpoint * z], 1)

    low = np.array([0.0, 0.0, np.diff(u).min() / 100])
    high = np.array([2.0, 1.0, 10.0])
    early, middle, late = (first_crossing(u, v, k) for k in (0.75, 0.5, 0.25))
    start = np.array([1.0, middle, (late - early) / (2 * np.log(3))])
    start = np.where(np.isfinite(start), start, [1.0, 0.5, 0.1])
    start = np.clip(start, low + 1e-3 * (high - low), high - 1e-3 * (high - low))
    found = scipy.optimize.least_squares(
        residual, start, jac=jacobian, bounds=(low, high)
    )
    top, midpoint, width = found.x
    drop = parts(found.x)[0][share > 0]
    doubts = {
        "the fit did not converge": not found.success,
        "the top is on its bound": not 2e-3 < top < 2 - 2e-3,
        "the midpoint is at an end of the strengths": not 1e-3 < midpoint < 1 - 1e-3,
        "the width is on its bound": not 1.5 * low[2] < width < 0.99 * high[2],
        # the width of a step between two points is anything below their distance
        "no point where the curve falls": not ((drop > 0.02) & (drop < 0.98)).any(),
    }
    return Sigmoid(
        top=float(chance + top * height),
        midpoint=float(x[0] + midpoint * span),
        width=float(width * span),
        slope=float(top * height / (4 * width * span)),
        chance=chance,
        rms=float(height * np.linalg.norm(residual(found.x))),
        ok=not any(doubts.values()),
        reason="; ".join(text for text, bad in doubts.items() if bad),
    )
