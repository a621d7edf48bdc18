"""How stable a decision is against a corruption draw, or an initialisation.

A decision flips where the outputs of a draw prefer another class. Equations:
docs/theory/outputs.md (S1)-(S4).

The law says against what. A law of the routes: against the corruption draw, for the
average over initialisations. `law.averaged(M)`: also against the initialisation, for
means of M networks. The law of a higher order, asked about the decisions of a lower one
(`flip_probability(resummed(...), first_order(...).decisions())`): also against that
order of the theory, whose change of the mean it knows. No number in the diagnostics
does as much: `linearisation_ratio` bounds a kernel, and a margin, a small difference of
outputs, may change by more than that share.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from theory.errors import InputError
from theory.numerics.signatures import checked
from theory.outputs.accuracy import win_probability
from theory.outputs.draws import Draws
from theory.outputs.law import Labels, OutputLaw, check_labels
from theory.outputs.orthant import cdf

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


@checked
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
        NumericalError: where the law is not finite.
    """
    law.check_finite()
    decisions = law.decisions() if decisions is None else decisions
    chosen = _checked(decisions, law.mean.shape)
    return jnp.minimum(_losses(law, chosen).sum(axis=1), 1)


@checked
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
        NumericalError: where the law is not finite.
    """
    law.check_finite()
    decisions = law.decisions() if decisions is None else decisions
    chosen = _checked(decisions, law.mean.shape)
    losses = _losses(law, chosen)
    flips = 1 - win_probability(law.mean, law.cov, chosen)
    return jnp.clip(flips, losses.max(axis=1), jnp.minimum(losses.sum(axis=1), 1))


@checked
def stable(
    law: OutputLaw, level: float, decisions: Labels | None = None
) -> Bool[Array, " n"]:
    """Returns at which points decisions flip with probability `level` at most.

    Args:
        law: see `flip_probability`.
        level: largest probability of another decision.
        decisions: see `flip_probability`.

    Raises:
        InputError: for a level outside of 0 ... 1, or decisions that do not fit.
    """
    if not 0 <= level <= 1:
        raise InputError(f"`level` must lie in 0 ... 1, got {level}.")
    return flip_probability(law, decisions) <= level


@checked
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
    return 1 - draws.integrated(chosen, inits)
