"""The probability that all components of a Gaussian vector are positive, by sampling.

Genz's separation of variables (1992): the components are conditioned one after the
other, each on being positive given those before, the least likely first, and the
product of the conditional probabilities is averaged over quasi-random points. Where
the covariance is singular, all components that a new variable decides are imposed on
it together, as an interval (Genz and Kwong 2000).

Deterministic: the points are those of one scrambled Sobol sequence.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float

SAMPLES = 2**12
# A component is decided by the others once less than this share of its variance is
# left, and by one of them if its loading is above this share of its spread.
_SINGULAR = 1e-9
_LOADING = 1e-4


@functools.cache
def _uniforms(dimensions: int) -> np.ndarray:
    """Scrambled Sobol points (SAMPLES, dimensions)."""
    from scipy.stats import qmc  # takes a second to import, and few laws need it

    sobol = qmc.Sobol(dimensions, rng=np.random.default_rng(0))
    return sobol.random_base2(SAMPLES.bit_length() - 1)


def cdf(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns Phi(x), several times faster than `jax.scipy.special.ndtr`."""
    return jax.lax.erfc(-(0.5**0.5) * x) / 2


def hazard(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns N(x)/Phi(x), for |x| within `largest`."""
    return jnp.exp(jax.scipy.stats.norm.logpdf(x) - jnp.log(cdf(x)))


def largest(dtype) -> float:
    """Returns the largest x for which Phi(-x) is a normal number."""
    return 37.0 if dtype == jnp.float64 else 12.5


def _order(
    mean: Float[Array, " k"], cov: Float[Array, "k k"]
) -> tuple[Float[Array, "k k"], Bool[Array, "k k"]]:
    """Columns of a pivoted Cholesky root, and the components each of them decides.

    The pivot is the component least likely to be positive, given the earlier ones at
    their conditional means. Where rounding or an unbiased estimate made the covariance
    indefinite, variances below zero are zero.
    """
    k, dtype = mean.shape[0], mean.dtype
    variance = jnp.maximum(jnp.diagonal(cov), jnp.finfo(dtype).tiny ** 0.5)
    rounding = 10 * k * jnp.finfo(dtype).eps
    far = largest(dtype)

    def step(carry, _):
        mean, cov, left = carry
        remains = jnp.maximum(jnp.diagonal(cov), 0.0)
        spread = jnp.sqrt(jnp.maximum(remains, rounding * variance))
        ratio = mean / spread
        pivot = jnp.argmin(jnp.where(left, ratio, jnp.inf))
        chosen = jax.nn.one_hot(pivot, k, dtype=bool)
        column = jnp.where(chosen, spread, cov[pivot] / spread[pivot])
        column = jnp.where(left, column, 0.0)
        cov = cov - column[:, None] * column[None, :]
        decided = jnp.diagonal(cov) <= jnp.maximum(_SINGULAR, rounding) * variance
        decided &= jnp.abs(column) > _LOADING * jnp.sqrt(variance)
        decided = left & (decided | chosen)
        expected = hazard(jnp.clip(ratio[pivot], -far, far))
        return (mean + column * expected, cov, left & ~decided), (column, decided)

    start = (mean, cov, jnp.ones(k, bool))
    return jax.lax.scan(step, start, None, length=k)[1]


def _condition_one(mean, product, column, decided, uniform):
    """Draws one variable so that the component it decides is positive.

    Args: mean (points, k) given the earlier variables, product (points,) of the
    probabilities so far, column (k,), decided (k,), uniform (points,).
    """
    far = largest(mean.dtype)
    pivot = jnp.argmax(decided)
    any_decided = decided[pivot]
    spread = jnp.where(any_decided, column[pivot], 1.0)
    inside = cdf(jnp.clip(mean[:, pivot] / spread, -far, far))
    inside = jnp.where(any_decided, inside, 1.0)
    tail = jnp.maximum(inside * uniform, jnp.finfo(mean.dtype).tiny)
    # a step that decides nothing has a column of zeros
    return mean - ndtri(tail)[:, None] * column[None, :], product * inside


def _condition_all(mean, product, column, decided, uniform):
    """`_condition_one` for a variable that decides several: it lies in an interval."""
    far = largest(mean.dtype)
    root = -mean / jnp.where(decided, column, 1.0)[None, :]
    low = jnp.where((decided & (column > 0))[None, :], root, -far).max(axis=1)
    high = jnp.where((decided & (column < 0))[None, :], root, far).min(axis=1)
    low = jnp.clip(low, -far, far)
    above = cdf(-jnp.maximum(high, low))
    inside = cdf(-low) - above
    tail = jnp.maximum(above + inside * uniform, jnp.finfo(mean.dtype).tiny)
    return mean - ndtri(tail)[:, None] * column[None, :], product * inside


def orthant_probability(
    mean: Float[Array, "n k"], cov: Float[Array, "n k k"]
) -> Float[Array, " n"]:
    """Returns the probability that all k components are positive.

    O(n (k^3 + 4096 k^2)) time, 4096 n k numbers of memory: call it in blocks.

    Args:
        mean: means of the components.
        cov: their covariances; they may be singular.
    """
    n, k = mean.shape
    columns, decided = jax.vmap(_order)(mean, cov)
    uniforms = jnp.asarray(_uniforms(k), mean.dtype)

    def unchanged(mean, product, *_):
        return mean, product

    batched = functools.partial(jax.vmap, in_axes=(0, 0, 0, 0, None))
    branches = unchanged, batched(_condition_one), batched(_condition_all)

    def step(carry, xs):
        _, decided, _ = xs
        most = decided.sum(axis=1).max()
        return jax.lax.switch(jnp.minimum(most, 2), branches, *carry, *xs), None

    start = (
        jnp.repeat(mean[:, None], len(uniforms), axis=1),
        jnp.ones((n, len(uniforms)), mean.dtype),
    )
    steps = (columns.swapaxes(0, 1), decided.swapaxes(0, 1), uniforms.T)
    return jax.lax.scan(step, start, steps)[0][1].mean(axis=1)
