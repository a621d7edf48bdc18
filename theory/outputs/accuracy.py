"""The probability that a class wins, by integration over Gaussian outputs.

docs/theory/outputs.md (12)-(13): one common factor of the differences is integrated by
the trapezoidal rule, what it leaves of the covariance enters to second order
(Plackett). Where that series is not seen to converge the integral is sampled,
`theory.outputs.orthant`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from theory.outputs.orthant import SAMPLES, cdf, hazard, largest, orthant_probability

# Trapezoidal rule in the factor: exponentially accurate.
_NODES = np.arange(-24, 25) / 4
_WEIGHTS = np.exp(-(_NODES**2) / 2)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
# Below this spread, in units of the one-hot targets, an output has a definite value.
_SMALLEST_SPREAD = 1e-12
# Largest share of the factor in a variance, and steps of the fit of its loadings.
_LARGEST_SHARE = 0.97
_FIT_STEPS = 10
# The series is trusted if its second order is below the first of these, its first
# order, in units of the leading one, below the second, and all correlations that are
# left below the third: from .65 on it is now and then wrong by 1e-3 to 3e-3 though its
# second order is small, and a singular covariance leaves correlations of exactly one.
_SECOND, _RATIO, _LEFT = 3e-4, 0.3, 0.6
# Probability of losing to a class below which its correlations do not matter.
_NO_LOSS = 1e-5
# Numbers in a block of samples: about the cache of a core.
_SAMPLED_NUMBERS = 2**19


def _differences(mean, cov, label):
    """Mean (c-1,) and covariance (c-1, c-1) of f_label - f_j, j other than label."""
    others = jnp.arange(mean.shape[0] - 1, dtype=label.dtype)
    others = others + (others >= label).astype(label.dtype)
    to_label = cov[label][others]
    shared = cov[label, label] - to_label[:, None] - to_label[None, :]
    return mean[label] - mean[others], shared + cov[others][:, others]


def _loadings(corr, weights):
    """Loadings of one factor that leave the least of the off-diagonal correlations.

    Minimises sum_{j != k} (w_j w_k)^2 (corr_jk - l_j l_k)^2 by damped fixed-point
    steps from equal loadings, of the signs that the most relevant class sees. Any
    loadings are valid; poor ones leave more.
    """
    pairs = weights[:, None] * weights[None, :]
    pairs = pairs * (1 - jnp.eye(len(weights), dtype=corr.dtype))
    limit = _LARGEST_SHARE**0.5 * weights
    pairs_corr = pairs * corr
    common = jnp.abs(pairs_corr).sum() / jnp.maximum(pairs.sum(), 1e-12)
    start = jnp.sqrt(jnp.clip(common, 1e-6, _LARGEST_SHARE)) * weights
    start = jnp.where(corr[jnp.argmax(weights)] < 0, -start, start)

    def step(scaled, _):
        squares = scaled**2
        others = jnp.maximum(squares.sum() - squares, 1e-12)
        scaled = (scaled + pairs_corr @ scaled / others) / 2
        return jnp.clip(scaled, -limit, limit), None

    return jax.lax.scan(step, start, None, length=_FIT_STEPS)[0] / weights


def _series(
    mean: Float[Array, " c"], cov: Float[Array, "c c"], label: Int[Array, ""]
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """P(f_label > all others) to second order, and whether that can be trusted."""
    gap, gap_cov = _differences(mean, cov, label)
    dtype, far = gap.dtype, largest(gap.dtype)
    spread = jnp.sqrt(jnp.maximum(jnp.diagonal(gap_cov), _SMALLEST_SPREAD**2))
    ratio = jnp.clip(gap / spread, -far, far)
    corr = gap_cov / (spread[:, None] * spread[None, :])
    relevance = hazard(ratio)  # little for a class far behind
    # the probability does not depend on them, only its error does
    loadings = _loadings(corr, relevance / relevance.max() + 1e-3)
    loadings = jax.lax.stop_gradient(loadings)
    own = jnp.sqrt(1 - loadings**2)
    left = corr - loadings[:, None] * loadings[None, :]
    left = left / (own[:, None] * own[None, :]) * (1 - jnp.eye(len(gap), dtype=dtype))

    nodes = jnp.asarray(_NODES, dtype)[:, None]
    a = jnp.clip(((gap / spread)[None] + loadings[None] * nodes) / own[None], -far, far)
    h = hazard(a)
    bend, h2, left2 = -a * h, h**2, left**2  # bend: Phi''/Phi
    left_h = h @ left
    first = (left_h * h).sum(-1) / 2
    second = (
        first**2 / 2
        + ((bend - h2) * (left_h**2 - h2 @ left2)).sum(-1) / 2
        + (bend * (bend @ left2) - h2 * (h2 @ left2)).sum(-1) / 4
    )
    leading = jnp.asarray(_WEIGHTS, dtype) * cdf(a).prod(-1)
    terms = leading * (1 + first + second)
    win = terms.sum()
    # no better than against the strongest rival, no worse than all losses apart
    losses, most = cdf(-ratio), cdf(ratio).min()
    known = jnp.minimum(losses.sum(), most) < _SECOND
    # of classes that may win
    may_win = losses > _NO_LOSS
    left = jnp.where(may_win[:, None] & may_win[None, :], left, 0.0)
    small = jnp.abs(left).max() < _LEFT
    small &= (leading * jnp.abs(second)).sum() < _SECOND
    small &= (leading * jnp.abs(first)).sum() < _RATIO * leading.sum()
    return jnp.clip(win, jnp.maximum(1 - losses.sum(), 0.0), most), known | small


def _sample_late(mean, cov, labels, win, late):
    """Replaces the probabilities of the points `late`, those points first."""
    n, c = mean.shape
    size = min(n, max(2, _SAMPLED_NUMBERS // (SAMPLES * c)))
    blocks = jnp.resize(jnp.argsort(~late), (-(-n // size), size))

    def one_block(_, points):
        @jax.checkpoint  # a gradient samples again, rather than keep the samples
        def sampled():
            law = mean[points], cov[points], labels[points]
            return orthant_probability(*jax.vmap(_differences)(*law))

        here = late[points]
        values = jax.lax.cond(here.any(), sampled, lambda: win[points])
        return None, jnp.where(here, values, win[points])

    results = jax.lax.scan(one_block, None, blocks)[1]
    return jnp.zeros_like(win).at[blocks].set(results)


@functools.partial(jax.jit, static_argnames="block")
def win_probability(
    mean: Float[Array, "n c"],
    cov: Float[Array, "n c c"],
    labels: Int[Array, " n"],
    *,
    block: int = 512,
) -> Float[Array, " n"]:
    """Returns the probability that output `labels` is the largest, per point.

    A quadrature of 49 nodes wherever it is accurate, as it is for nearly balanced
    classes: O(n c^2), 10 microseconds per point for c = 10, 400 for c = 100. Each of
    the other points is sampled, at 1 and 30 milliseconds. Deterministic.

    Args:
        mean: means of the outputs.
        cov: their covariances; only differences matter, a common noise drops out.
            Zero covariance is allowed: the result is then 0 or 1. Singular ones, and
            those that an unbiased estimate made a little indefinite, are too.
        labels: the class whose win is asked for.
        block: points per block of memory, 49 c + c^2 numbers each, some ten times.

    Returns:
        Probabilities, within 1e-3 of the integral; exact for two classes. Errors over
        22 kinds of covariance (graded, unequal loadings, several factors, Wishart,
        unbalanced, singular), c = 3 ... 100: below 6e-4 by quadrature; sampled, below
        1e-3, and 2e-4 in the mean square.
    """
    win, trusted = jax.lax.map(
        lambda point: _series(*point), (mean, cov, labels), batch_size=block
    )
    if mean.shape[0] == 0 or mean.shape[1] < 3:
        return win  # one difference: there is nothing to correlate
    return _sample_late(mean, cov, labels, win, ~trusted)


@functools.partial(jax.jit, static_argnames="block")
def win_probabilities(
    mean: Float[Array, "n c"], cov: Float[Array, "n c c"], *, block: int = 512
) -> Float[Array, "n c"]:
    """Returns `win_probability` of every class, one class after the other."""
    n, c = mean.shape

    def of_class(label):
        return win_probability(mean, cov, jnp.full(n, label), block=block)

    return jax.lax.map(of_class, jnp.arange(c)).T


def _win_one_iid(mean, var, label):
    """P(f_label > all others) of one point, noise of one variance in every class."""
    other = jnp.arange(mean.shape[0], dtype=label.dtype) != label
    spread = jnp.sqrt(jnp.maximum(var, _SMALLEST_SPREAD**2))
    nodes = jnp.asarray(_NODES, mean.dtype)[:, None]
    beaten = cdf((mean[label] - mean)[None, :] / spread + nodes)
    product = jnp.where(other[None, :], beaten, 1.0).prod(-1)
    return (jnp.asarray(_WEIGHTS, mean.dtype) * product).sum()


@functools.partial(jax.jit, static_argnames="block")
def win_probability_iid(
    mean: Float[Array, "n c"],
    var: Float[Array, " n"],
    labels: Int[Array, " n"],
    *,
    block: int = 512,
) -> Float[Array, " n"]:
    """Returns `win_probability` for noise independent between classes, (12) alone.

    The noise of output `labels` is the common factor, and nothing is left of the
    covariance: exact up to the quadrature, and no c x c matrix is needed.

    Args:
        mean: means of the outputs.
        var: variance of every output of a point; may be zero.
        labels: the class whose win is asked for.
        block: points per block of memory, 49 c numbers each.
    """
    return jax.lax.map(
        lambda point: _win_one_iid(*point), (mean, var, labels), batch_size=block
    )
