"""Linear probes of features by band: leading components, the tail, random subspaces.

A probe is ridge regression of one-hot labels with an intercept that pays nothing. In
principal components the normal equations are diagonal, and the coefficients of a
component do not depend on which others take part: the probe of every band is a part of
one. In other bases the probes of the first d directions, d = 1 ... D, follow from one
Cholesky factor, whose leading blocks are the factors of the leading blocks.
"""

import functools

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from ntk_corrupt.spectral.heads import Head
from ntk_corrupt.spectral.truncation import (
    SpectralTruncation,
    cumulative_decisions,
    orthogonal,
)
from theory.errors import InputError
from theory.numerics.signatures import checked


def _penalty(truncation: SpectralTruncation, ridge) -> Array:
    """`ridge` times the mean variance of a feature, times n."""
    return ridge * (truncation.singular_values**2).sum() / len(truncation.mean)


def _check(ridge: float) -> None:
    if not ridge >= 0:
        raise InputError(f"`ridge` must not be negative, got {ridge}.")


@checked
def ridge_head(
    truncation: SpectralTruncation,
    features: Float[Array, "n D"],
    labels: Int[Array, " n"],
    num_classes: int,
    *,
    ridge: float = 1e-3,
) -> Head:
    """Ridge regression on all components, as a head.

    `truncation.decisions(head, h)` are those of the probes of the first d components,
    `truncation.tail_decisions(head, h)` of the probes of the others. O(n D (D + c)).

    Args:
        truncation: fitted to these very features.
        features: of the training images.
        labels: classes to predict.
        num_classes: how many there are.
        ridge: penalty in units of the mean variance of a feature, per image.

    Raises:
        InputError: if the ridge is negative.
    """
    _check(ridge)
    return _ridge_head(truncation, features, labels, num_classes, ridge)


@functools.partial(jax.jit, static_argnames="num_classes")
def _ridge_head(truncation, features, labels, num_classes, ridge):
    y = jax.nn.one_hot(labels, num_classes, dtype=features.dtype)
    variance = truncation.singular_values**2 + _penalty(truncation, ridge)
    cross = truncation.transform(features).T @ y
    steps = cross / jnp.where(variance > 0, variance, 1.0)[:, None]
    w = (truncation.components @ steps).T
    return Head(w=w, b=y.mean(axis=0) - w @ truncation.mean)


@checked
def random_probe_accuracies(
    truncation: SpectralTruncation,
    features: Float[Array, "n D"],
    labels: Int[Array, " n"],
    x: Float[Array, "m D"],
    truth: Int[Array, " m"],
    num_classes: int,
    *,
    draws: int,
    key: Array,
    ridge: float = 1e-3,
) -> Float[Array, "draws D1"]:
    """Accuracy of probes of random subspaces of d = 0 ... D dimensions.

    The subspaces of a draw are nested. NaN where the factorisation failed. O(D^2 (D +
    m)) for each draw.

    Args:
        truncation: fitted to these very features.
        features: of the training images.
        labels: classes to predict.
        x: features to be tested on.
        truth: their classes.
        num_classes: how many there are.
        draws: number of random bases.
        key: of the bases.
        ridge: see `ridge_head`.

    Raises:
        InputError: if the ridge is negative or there is no draw.
    """
    _check(ridge)
    if draws < 1:
        raise InputError(f"`draws` must be at least 1, got {draws}.")
    keys = jax.random.split(key, draws)
    return _random_probes(
        truncation, features, labels, x, truth, num_classes, ridge, keys
    )


@functools.partial(jax.jit, static_argnames="num_classes")
def _random_probes(truncation, features, labels, x, truth, num_classes, ridge, keys):
    y = jax.nn.one_hot(labels, num_classes, dtype=features.dtype)
    centred, mean = features - truncation.mean[None], y.mean(axis=0)
    gram, cross = centred.T @ centred, centred.T @ y
    penalty = _penalty(truncation, ridge) * jnp.eye(len(gram), dtype=gram.dtype)
    start = jnp.broadcast_to(mean[None], (len(x), num_classes))
    points = (x - truncation.mean[None]).T

    def draw(key):
        basis = orthogonal(truncation.mean, key)
        factor = jnp.linalg.cholesky(basis.T @ gram @ basis + penalty)
        whitened = solve_triangular(factor, basis.T @ points, lower=True)
        steps = solve_triangular(factor, basis.T @ cross, lower=True)
        decided = cumulative_decisions(start, whitened.T, steps)
        right = (decided == truth[None]).mean(axis=1, dtype=x.dtype)
        return jnp.where(jnp.isfinite(factor).all(), right, jnp.nan)

    return jax.lax.map(draw, keys)
