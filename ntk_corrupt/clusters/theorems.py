"""What is proved of label noise on clusters, as numbers that a run can be held against.

Bounds are stated with what holds exactly and can be computed, where the source takes
suprema over balls or constants of high probability.

Reference: Li, Soltanolkotabi & Oymak 2020, arXiv:1903.11680.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ntk_corrupt.clusters import jacobian
from theory.activations import registry
from theory.activations.registry import Activation
from theory.numerics.signatures import checked
from theory.two_layer import clusters

# Slopes of an activation are looked at here: it holds the largest of those in use.
_GRID = np.linspace(-30.0, 30.0, 6001)


class Stopping(NamedTuple):
    """Theorem 2.2: how long gradient descent may go on, up to constants.

    Attributes:
        norm: |C|, the spectral norm of the centres.
        least: lambda(C).
        rate: largest step size of the theorem, K/(2 c_up n Gamma^2 |C|^2).
        iterations: |C|^2/lambda(C), the order of T at that step size.
        time: rate times iterations, K/(2 c_up n Gamma^2 lambda(C)).
    """

    norm: float
    least: float
    rate: float
    iterations: float
    time: float


@checked
def lipschitz(activation: str | Activation) -> float:
    """Returns Gamma, the largest |phi'|, on a grid of [-30, 30] that holds 0."""
    # a kink at zero has two slopes, and both neighbours are on the grid
    return float(_largest_slope(registry.get(activation)))


@functools.partial(jax.jit, static_argnames="activation")
def _largest_slope(activation: Activation) -> Array:
    grid = jnp.asarray(_GRID)
    slopes = jax.jvp(activation.fn, (grid,), (jnp.ones_like(grid),))[1]
    return jnp.abs(slopes).max()


@checked
def stopping(
    centres: Float[Array, "k d"], n: int, largest: int, activation: str | Activation
) -> Stopping:
    """Returns the quantities of theorem 2.2, its constants left out.

    Args:
        centres: of unit norm.
        n: training points.
        largest: points of the largest cluster, c_up n/K.
        activation: of the network.
    """
    norm = float(np.linalg.norm(np.asarray(centres), ord=2))
    least = float(clusters.least_eigenvalue(centres, activation))
    rate = 1 / (2 * largest * lipschitz(activation) ** 2 * norm**2)
    iterations = norm**2 / least if least > 0 else np.inf
    return Stopping(norm, least, rate, iterations, rate * iterations)


@checked
def distance_bound(
    gram: Float[Array, "n n"],
    basis: np.ndarray,
    change: Float[Array, " n"] | np.ndarray,
) -> float:
    """Least |W - W0| that changes the outputs by so much: max(E+/beta, E-/eps).

    E+ and E- are the norms of the change on S+ and S-. Theorem 9.3, with the Jacobian
    averaged over the segment in place of suprema over a ball: then it holds always,
    docs/theory/two_layer.md (C4). A space that the weights do not reach (S- of
    duplicates) says nothing.

    Args:
        gram: `jacobian.segment_gram`, or that of the start for a diagnostic.
        basis: of S+.
        change: f(W) - f(W0).
    """
    change = np.asarray(change, np.float64)
    found = jacobian.extremes(gram, basis)
    plus = basis.T @ change
    minus = change - basis @ plus
    # singular values through a Gram mean nothing below the root of its rounding
    floor = (len(change) * np.finfo(np.float64).eps) ** 0.5
    floor *= max(found.beta, found.eps)
    bounds = (
        np.linalg.norm(part) / of if of > floor else 0.0
        for part, of in ((plus, found.beta), (minus, found.eps))
    )
    return float(max(bounds))


@checked
def pair_bound(
    differences: Float[np.ndarray, "s d"], gaps: Float[np.ndarray, " s"], gamma: float
) -> float:
    """Least |W| that tells s pairs of points apart: |gaps|/(gamma |differences|).

    Lemma 8.1 with the spectral norm of the differences, which the source bounds by
    5 eps0 for normal points: sqrt(s) delta/(5 gamma eps0). For |a| = 1.

    Args:
        differences: x - x' of each pair.
        gaps: f(x) - f(x') of each.
        gamma: largest slope of the activation.
    """
    size = np.linalg.norm(differences, ord=2)
    return float(np.linalg.norm(gaps) / (gamma * size)) if size else np.inf


@checked
def diffuse_bound(cluster: Int[Array, " n"], clusters: int, e: np.ndarray) -> float:
    """Bound on the largest entry of e on S+: gamma sqrt(s)/n |e|.

    s counts the entries of e that are not zero, gamma = max n/n_l says how diffuse S+
    is: few wrong labels move no cluster's mean by much.
    """
    sizes = np.bincount(np.asarray(cluster), minlength=clusters)
    wrong = np.count_nonzero(e)
    return float(wrong**0.5 * np.linalg.norm(e) / sizes.min())
