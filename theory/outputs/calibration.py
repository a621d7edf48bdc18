"""Whether predicted flips come true: observed shares in bins of the predicted ones."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array

from theory.errors import InputError, check_count
from theory.numerics.signatures import checked


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reliability:
    """Predicted beside observed frequencies of flips, points binned by the predicted.

    Arrays have one entry per bin; an empty one has NaN means and the interval 0 ... 1.

    Attributes:
        edges: of the bins, one more than there are; the upper one belongs to the next
            bin, 1 to the last.
        points: number of test points.
        predicted: mean predicted flip probability, over the points.
        observed: mean observed frequency of flips, over points and trials.
        low: lower end of the interval of Clopper and Pearson for `observed`, as if
            points times trials were independent. They share draws, noise of a draw may
            move many points together: the interval is then too narrow.
        high: its upper end.
        stderr: standard error over draws of `observed`, which knows of that; NaN where
            the frequencies per draw are not known. Zero where no draw differs, as where
            nothing has flipped at all: `high` is then the better guide.
    """

    edges: np.ndarray
    points: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    stderr: np.ndarray

    @property
    def calibration_error(self) -> float:
        """Mean over all points of |observed - predicted| of their bin, (S4)."""
        filled = self.points > 0
        gap = np.abs(self.observed - self.predicted)[filled]
        return float((gap * self.points[filled]).sum() / self.points.sum())


def _clopper_pearson(
    count: np.ndarray, total: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Interval for the probability of `count` in `total` trials; shares are allowed."""
    import scipy.special  # for intervals alone: a tenth of the import of theory

    tail = (1 - confidence) / 2
    left = np.maximum(total - count, 0.0)
    # betaincinv: the quantile of a beta distribution, which needs positive parameters
    low = scipy.special.betaincinv(np.where(count > 0, count, 1.0), left + 1, tail)
    high = scipy.special.betaincinv(count + 1, np.where(left > 0, left, 1.0), 1 - tail)
    return np.where(count > 0, low, 0.0), np.where(left > 0, high, 1.0)


def lower_bound(count: np.ndarray, total: int, confidence: float) -> np.ndarray:
    """Returns Clopper and Pearson's one-sided lower bound on a probability.

    Args:
        count: successes, elementwise.
        total: independent trials.
        confidence: with which the bound holds, over the trials.

    Raises:
        InputError: for a confidence that is none.
    """
    _check_confidence(confidence)
    trials = np.full(np.shape(count), float(total))
    return _clopper_pearson(np.asarray(count, float), trials, 2 * confidence - 1)[0]


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"`confidence` must lie between 0 and 1, got {confidence}.")


def _check_shares(name: str, values: np.ndarray) -> None:
    """Host check of probabilities or frequencies; at least one of them."""
    if not values.size:
        raise InputError(f"`{name}` must not be empty, got shape {values.shape}.")
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError(
            f"`{name}` must lie in 0 ... 1, got {values.min()} ... {values.max()}."
        )


def _standard_errors(per_draw: np.ndarray) -> np.ndarray:
    """Of every bin, NaN of those without points."""
    if len(per_draw) < 2:
        return np.full(per_draw.shape[1], np.nan)
    return per_draw.std(axis=0, ddof=1) / len(per_draw) ** 0.5


@checked
def reliability(
    predicted: Array | np.ndarray,
    observed: Array | np.ndarray,
    *,
    trials: int | None = None,
    edges: Sequence[int | float] | np.ndarray = (0, 0.01, 0.1, 0.2, 0.5, 1),
    confidence: float = 0.95,
) -> Reliability:
    """Sets predicted flip probabilities beside observed frequencies, (S3).

    Args:
        predicted: flip probability of every test point, (n,).
        observed: what `observed_flips` returns, (draw, n); or its mean (n,), which
            leaves the standard error over draws unknown.
        trials: independent trials at every point: number of draws, which is what None
            takes where `observed` has them. Groups of networks that share a corruption
            draw are no trials of their own.
        edges: of the bins of `predicted`, from 0 to 1.
        confidence: of the intervals.

    Raises:
        InputError: bad arguments.
    """
    expected, seen = np.asarray(predicted, float), np.asarray(observed, float)
    if expected.ndim != 1:
        raise InputError(
            f"`predicted` must have shape (n,), got shape {expected.shape}."
        )
    n = len(expected)
    if seen.ndim not in (1, 2) or seen.shape[-1] != n:
        raise InputError(
            f"`observed` must have shape ({n},) or (draws, {n}), as `predicted` has "
            f"{n} points, got shape {seen.shape}."
        )
    _check_shares("predicted", expected)
    _check_shares("observed", seen)
    if trials is None and seen.ndim == 1:
        raise InputError(
            "`trials` must be given where `observed` has no axis of draws, got None."
        )
    trials = len(seen) if trials is None else trials
    check_count("trials", trials)
    _check_confidence(confidence)
    bounds = np.asarray(edges, float)
    ends = bounds.ndim == 1 and bounds.size > 1 and (bounds[0], bounds[-1]) == (0, 1)
    if not (ends and (np.diff(bounds) > 0).all()):
        raise InputError(f"`edges` must increase from 0 to 1, got {bounds.tolist()}.")

    member = np.digitize(expected, bounds[1:-1])[None, :]
    member = member == np.arange(len(bounds) - 1)[:, None]  # (bin, point)
    points = member.sum(axis=1)
    share = member / np.where(points > 0, points, np.nan)[:, None]
    per_draw = np.atleast_2d(seen) @ share.T  # (draw, bin)
    frequency = per_draw.mean(axis=0)
    total = points * float(trials)
    count = np.where(points > 0, frequency, 0.0) * total
    low, high = _clopper_pearson(count, total, confidence)
    return Reliability(
        edges=bounds,
        points=points,
        predicted=share @ expected,
        observed=frequency,
        low=low,
        high=high,
        stderr=_standard_errors(per_draw),
    )
