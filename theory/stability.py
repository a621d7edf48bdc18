"""How stable a decision is against a corruption draw, or an initialisation.

A decision flips where the outputs of a draw prefer another class. Equations:
theory/README.md (S1)-(S4).

The law says against what. A law of the routes: against the corruption draw, for the
average over initialisations. `law.averaged(M)`: also against the initialisation, for
means of M networks. The law of a higher order, asked about the decisions of a lower one
(`flip_probability(resummed(...), first_order(...).decisions())`): also against that
order of the theory, whose change of the mean it knows. No number in the diagnostics
does as much: `linearisation_ratio` bounds a kernel, and a margin, a small difference of
outputs, may change by more than that share.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from theory.accuracy import win_probability, win_probability_iid
from theory.errors import InputError
from theory.laws import Draws, Labels, OutputLaw, standard_error
from theory.orthant import cdf
from theory.output_law import check_inits, check_labels

# Below this spread, in units of the one-hot targets, an output has a definite value.
_SMALLEST_SPREAD = 1e-12


def _checked(decisions: Labels, shape: tuple[int, ...]) -> Int[Array, " n"]:
    """Decisions as an array, after host checks against outputs of shape (n, c)."""
    check_labels(decisions, shape, "decisions")
    return jnp.asarray(decisions, jnp.int32)


def _losses(law: OutputLaw, decisions: Int[Array, " n"]) -> Float[Array, "n c"]:
    """Phi(-z_j), the probability to lose to class j alone; 0 for the decision."""
    own = jax.nn.one_hot(decisions, law.mean.shape[1], dtype=bool)
    gap = jnp.where(own, law.mean, 0).sum(axis=1)[:, None] - law.mean
    var = jnp.diagonal(law.cov, axis1=1, axis2=2)
    to_own = jnp.where(own[:, None, :], law.cov, 0).sum(axis=2)
    own_var = jnp.where(own, var, 0).sum(axis=1)[:, None]
    gap_var = jnp.maximum(own_var + var - 2 * to_own, _SMALLEST_SPREAD**2)
    return jnp.where(own, 0, cdf(-gap / jnp.sqrt(gap_var)))


def flip_bound(law: OutputLaw, decisions: Labels | None = None) -> Float[Array, " n"]:
    """Returns the union bound on the probability of another decision, (S1).

    The sum over the other classes of the probability to lose to each alone, at most 1.
    At least `flip_probability`, which is no less than the largest term: at most c - 1
    times too large, and close where a single rival matters. Exact for two classes. Full
    relative precision, however small. O(n c).

    Args:
        law: of the outputs; `law.averaged(M)` for means of M networks. The covariance
            may be zero: the result is then 0 or more than 1/2.
        decisions: class of every point; the law's own if None, for the class-mean rule
            `class_mean_scores(problem).argmax(1)`.

    Raises:
        InputError: where `decisions` do not fit the law.
    """
    decisions = law.decisions() if decisions is None else decisions
    chosen = _checked(decisions, law.mean.shape)
    return jnp.minimum(_losses(law, chosen).sum(axis=1), 1)


def flip_probability(
    law: OutputLaw, decisions: Labels | None = None
) -> Float[Array, " n"]:
    """Returns the probability that a draw decides for another class, (S2).

    The integral of `win_probability`, kept within the two sides of (S1): error below
    1e-3, and however small, right within a factor of c - 1. Cost of
    `law.per_point`. A Gaussian law: what the outputs of draws have of other tails
    is not in it, and `reliability` tells.

    Args:
        law: of the outputs; `law.averaged(M)` for means of M networks. The covariance
            may be zero: the result is then 0, 1, or in between for ties.
        decisions: class of every point; the law's own if None, for the class-mean rule
            `class_mean_scores(problem).argmax(1)`.

    Raises:
        InputError: where `decisions` do not fit the law.
    """
    decisions = law.decisions() if decisions is None else decisions
    chosen = _checked(decisions, law.mean.shape)
    losses = _losses(law, chosen)
    flips = 1 - win_probability(law.mean, law.cov, chosen)
    return jnp.clip(flips, losses.max(axis=1), jnp.minimum(losses.sum(axis=1), 1))


def stable(
    law: OutputLaw, level: float, decisions: Labels | None = None
) -> Bool[Array, " n"]:
    """Returns at which points decisions flip with probability `level` at most.

    Args:
        law: see `flip_probability`. Where it is NaN no point is stable.
        level: largest probability of another decision.
        decisions: see `flip_probability`.

    Raises:
        InputError: for a level outside of 0 ... 1, or decisions that do not fit.
    """
    if not 0 <= level <= 1:
        raise InputError(f"`level` must lie in 0 ... 1, got {level}.")
    return flip_probability(law, decisions) <= level


def observed_flips(
    draws: Draws, decisions: Labels, inits: int | None = None
) -> Float[Array, "draw n"]:
    """Returns how often the outputs of each draw decide otherwise than `decisions`.

    The mean over the first axis is the frequency to set beside `flip_probability`, of
    `law.averaged(inits)` where `inits` is given.

    Args:
        draws: outputs per corruption draw.
        decisions: class of every point.
        inits: networks averaged before the decision; None for all there are. The share
            is that of groups of so many. With `init_var` the initialisations are
            integrated: the probability, given the draw, for a mean of `inits` networks.

    Raises:
        InputError: where `decisions` or `inits` do not fit the draws.
    """
    chosen = _checked(decisions, draws.outputs.shape[2:])
    if draws.init_var is None or inits is None:
        flipped = draws.decisions(inits) != chosen[None, None, :]
        return flipped.mean(axis=1, dtype=draws.outputs.dtype)
    check_inits(inits)
    k, _, n, c = draws.outputs.shape
    stays = win_probability_iid(
        draws.outputs.reshape(k * n, c),
        draws.init_var.reshape(-1) / inits,
        jnp.tile(chosen, k),
    )
    return 1 - stays.reshape(k, n)


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


def _check_shares(name: str, values: np.ndarray) -> None:
    """Host check of probabilities or frequencies; at least one of them."""
    if not values.size:
        raise InputError(f"`{name}` must not be empty, got shape {values.shape}.")
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError(
            f"`{name}` must lie in 0 ... 1, got {values.min()} ... {values.max()}."
        )


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
    if not trials >= 1:
        raise InputError(f"`trials` must be at least 1, got {trials}.")
    if not 0 < confidence < 1:
        raise InputError(f"`confidence` must lie between 0 and 1, got {confidence}.")
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
        stderr=np.array([standard_error(values) for values in per_draw.T]),
    )
