"""The probability that a class wins, by integration over Gaussian outputs.

theory/README.md (12)-(13): one common factor of the differences is integrated by
Gauss-Hermite, what it leaves of the covariance enters to first order (Plackett).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
# Below this spread, in units of the one-hot targets, an output has a definite value.
_SMALLEST_SPREAD = 1e-12


def _win_one(mean, cov, label):
    """P(f_label > all others) of one point."""
    num_classes, dtype = mean.shape[0], mean.dtype
    other = (jnp.arange(num_classes) != label).astype(dtype)
    gap = mean[label] - mean
    to_label = cov[label]
    gap_cov = cov[label, label] - to_label[:, None] - to_label[None, :] + cov
    variance = jnp.diagonal(gap_cov)
    pairs = (1 - jnp.eye(num_classes, dtype=dtype)) * other[:, None] * other[None, :]
    # one factor: the mean off-diagonal, short of the smallest variance
    common = (pairs * gap_cov).sum() / jnp.maximum(pairs.sum(), 1)
    smallest = jnp.where(other > 0, variance, jnp.inf).min()
    common = jnp.clip(common, 0.0, 0.999 * jnp.maximum(smallest, 0.0))
    own = jnp.sqrt(jnp.maximum(variance - common, _SMALLEST_SPREAD**2))

    nodes = jnp.asarray(_NODES, dtype)[:, None]
    a = (gap[None, :] + jnp.sqrt(common) * nodes) / own[None, :]
    a = jnp.clip(a, -37.0, 37.0)  # Phi is 0 or 1 to float64 beyond
    log_cdf = jax.scipy.stats.norm.logcdf(a)
    hazard = jnp.exp(jax.scipy.stats.norm.logpdf(a) - log_cdf) / own[None, :]
    hazard = hazard * other[None, :]
    rest = pairs * (gap_cov - common)
    second = jnp.einsum("zj,jk,zk->z", hazard, rest, hazard)
    product = jnp.exp((log_cdf * other[None, :]).sum(-1))
    win = (jnp.asarray(_WEIGHTS, dtype) * product * (1 + second / 2)).sum()
    # the first-order term may overshoot by no more than its own error
    return jnp.clip(win, 0.0, 1.0)


@functools.partial(jax.jit, static_argnames="block")
def win_probability(
    mean: Float[Array, "n c"],
    cov: Float[Array, "n c c"],
    labels: Int[Array, " n"],
    *,
    block: int = 512,
) -> Float[Array, " n"]:
    """Returns the probability that output `labels` is the largest, per point.

    Args:
        mean: means of the outputs.
        cov: their covariances; only differences matter, a common noise drops out.
            Zero covariance is allowed: the result is then 0 or 1.
        labels: the class whose win is asked for.
        block: points per block of memory, 41 c numbers each.

    Returns:
        Probabilities. Error below 1e-3 for c = 2, 10, 100 where the covariance of the
        differences is nearly that of one factor with equal loadings, as it is for
        balanced classes. It grows with the square of what that factor leaves: up to
        .05 for strongly graded or unequally loaded covariances.
    """
    return jax.lax.map(
        lambda point: _win_one(*point), (mean, cov, labels), batch_size=block
    )


def _win_one_iid(mean, var, label):
    """P(f_label > all others) of one point, noise of one variance in every class."""
    other = (jnp.arange(mean.shape[0]) != label).astype(mean.dtype)
    spread = jnp.sqrt(jnp.maximum(var, _SMALLEST_SPREAD**2))
    nodes = jnp.asarray(_NODES, mean.dtype)[:, None]
    log_cdf = jax.scipy.stats.norm.logcdf(
        (mean[label] - mean)[None, :] / spread + nodes
    )
    product = jnp.exp((log_cdf * other[None, :]).sum(-1))
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
        block: points per block of memory, 41 c numbers each.
    """
    return jax.lax.map(
        lambda point: _win_one_iid(*point), (mean, var, labels), batch_size=block
    )
