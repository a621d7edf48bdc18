"""Two models of heavy corruption with constants that are given, not predicted."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

import theory

# The level at which the source fits its constants.
_FITTED_AT = 0.97


def fitted_accuracies(
    scores: ArrayLike, labels: ArrayLike, levels: Sequence[float], a: float, c: float
) -> list[float]:
    """Returns the accuracy of outputs a (1 - p)/.03 score_i + b + c xi_i, by level.

    arXiv 2606.11319 fits a, b, c to the outputs of networks at p = .97; xi_i are
    independent and normal, and b, which all classes share, decides nothing.

    Args:
        scores: class-mean scores of test points, (n, classes).
        labels: true classes, (n,).
        levels: corruption levels p in [0, 1].
        a: slope at p = .97.
        c: standard deviation of an output over corruption draws, above 0.
    """
    found = np.asarray(scores, float)
    n, classes = found.shape
    cov = jnp.broadcast_to(c**2 * jnp.eye(classes), (n, classes, classes))
    slopes = [a * (1 - p) / (1 - _FITTED_AT) for p in levels]
    return [
        theory.OutputLaw(mean=jnp.asarray(slope * found), cov=cov).accuracy(
            jnp.asarray(labels)
        )
        for slope in slopes
    ]


def toy_accuracies(
    levels: Sequence[float], gain: float = 10.0, classes: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Returns m(p) and s(p) of the toy model of arXiv 2606.11319.

    m is the accuracy where the true class leads all others by `gain` (1 - p) and
    outputs have independent normal noise of variance 1, E Phi(u + gain (1 - p))^(c-1);
    s = sqrt(m (1 - m)) the standard deviation of one decision, 1/2 at most.

    Args:
        levels: corruption levels p in [0, 1].
        gain: lead of the true class without corruption.
        classes: how many, c.
    """
    lead = jnp.eye(1, classes)
    mean = np.array(
        fitted_accuracies(np.asarray(lead), [0], levels, gain * (1 - _FITTED_AT), 1.0)
    )
    return mean, np.sqrt(mean * (1 - mean))
