"""How much the accuracy of a test set fluctuates, from the joint law of its outputs.

The accuracy is a mean of n indicators, so that its variance is the mean variance of
one of them over n, plus 1 - 1/n times the mean covariance of two of them.
"""

import math

import jax
import numpy as np
from jaxtyping import Array

from theory.errors import NumericalError
from theory.numerics import memory

# Most negative eigenvalue of a joint covariance that passes for zero, in units of the
# largest: the approximations behind it, not only rounding, leave such.
_NEGATIVE = 1e-3
# Joint samples held at a time.
_BLOCK = 500


def choose(n: int, points: int, key: Array | None) -> tuple[np.ndarray, Array]:
    """Returns the indices of at most `points` of n test points, and the next key."""
    choice, sampling = jax.random.split(jax.random.key(0) if key is None else key)
    chosen = jax.random.permutation(choice, n)[: min(points, n)]
    return np.sort(np.asarray(chosen)), sampling


def check_size(points: int, c: int) -> None:
    """Raises `InputError` if the joint covariance does not fit into the memory."""
    memory.check_memory(
        4 * 8 * (points * c) ** 2,
        f"the joint covariance of {points} points and {c} classes",
        "use fewer `points`",
    )


def _root(cov: np.ndarray) -> np.ndarray:
    """Root R with R R^T = cov, small negative eigenvalues set to zero."""
    if not np.isfinite(cov).all():
        raise NumericalError("the joint covariance of the outputs is not finite.")
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    if values[0] < -_NEGATIVE * max(values[-1], 0.0):
        raise NumericalError(
            f"the joint covariance of the outputs has an eigenvalue {values[0]:.1g} "
            f"beside a largest of {values[-1]:.1g}: it is no covariance; with few "
            "draws take the standard deviation of Draws.accuracies."
        )
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _pair_covariance(mean, cov, labels, samples, key):
    """Mean over pairs of distinct points of Cov(one is right, the other is right).

    Without bias: the variance of the number of right decisions in joint samples, less
    the variances of the single decisions. Mean (p, c), cov (p, p, c, c), labels (p,).
    """
    p, c = mean.shape
    root = _root(cov.transpose(0, 2, 1, 3).reshape(p * c, p * c))
    right = np.empty((samples, p), bool)
    for start in range(0, samples, _BLOCK):
        size = min(_BLOCK, samples - start)
        normal = jax.random.normal(jax.random.fold_in(key, start), (size, p * c))
        outputs = (np.asarray(normal) @ root.T).reshape(size, p, c) + mean[None]
        right[start : start + size] = outputs.argmax(axis=-1) == labels[None]
    of_count = right.sum(axis=1).var(ddof=1)
    of_points = right.var(axis=0, ddof=1).sum()
    return (of_count - of_points) / (p * (p - 1)) if p > 1 else 0.0


def accuracy_std(
    right: np.ndarray,
    mean: np.ndarray,
    cov: np.ndarray,
    labels: np.ndarray,
    *,
    samples: int,
    key: Array,
) -> float:
    """Returns the standard deviation of the accuracy of all test points.

    Args:
        right: probability of a right decision at every test point, (n,).
        mean: mean outputs at some of them, (p, c).
        cov: their joint covariance, (p, p, c, c).
        labels: of them, (p,).
        samples: number of joint samples.
        key: consumed.

    Raises:
        NumericalError: where `cov` is no covariance.
    """
    pairs = _pair_covariance(mean, cov, labels, samples, key)
    n = len(right)
    variance = (right * (1 - right)).mean() / n + (1 - 1 / n) * pairs
    return math.sqrt(max(variance, 0.0))
