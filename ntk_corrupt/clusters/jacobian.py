"""The Jacobian of a network's outputs by its weights, seen through J J^T alone.

Clustered points give J a few large singular values, whose left singular vectors are
nearly constant on clusters. S+ is the space of vectors that are exactly constant on
clusters, S- its complement. Everything here takes the n x n Gram J J^T, of which
`TwoLayer.jacobian_gram` and `segment_gram` need no Jacobian.

Reference: Li, Soltanolkotabi & Oymak 2020, arXiv:1903.11680, sections 5 and 9.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ntk_corrupt.networks.two_layer import TwoLayer
from theory.errors import InputError
from theory.numerics.signatures import checked

# Pre-activations this much closer than their size have a divided difference of slopes
# with fewer digits than the slope half way.
_CLOSE = {"float32": 1e-3, "float64": 1e-5}


class LeftSingular(NamedTuple):
    """Singular values of J, descending, and its left singular vectors.

    Attributes:
        values: roots of the eigenvalues of the Gram; those that rounding made negative
            are 0, so that values below the root of rounding mean nothing.
        vectors: one in each column.
        negative: least eigenvalue over the largest, of the size of rounding.
    """

    values: np.ndarray
    vectors: np.ndarray
    negative: float

    def above(self, share: float = 0.1) -> int:
        """Returns how many values exceed a share of the largest."""
        return int((self.values > share * self.values[0]).sum())

    def gap(self, count: int) -> float:
        """Returns sigma_count/sigma_{count + 1}, infinite if the latter is zero."""
        below = self.values[count]
        return float(self.values[count - 1] / below) if below else np.inf

    @checked
    def energy(self, vector: Float[Array, " n"] | np.ndarray, count: int) -> float:
        """Returns the share of |vector|^2 in the first `count` left vectors.

        NaN of a vector of zeros.
        """
        return energy(self.vectors[:, :count], vector)


class Extremes(NamedTuple):
    """How J acts on S+ and on S-.

    Attributes:
        alpha: least singular value of J^T on S+.
        beta: largest on S+.
        eps: largest on S-, |Pi_- J|.
    """

    alpha: float
    beta: float
    eps: float


@checked
def left_singular(gram: Float[Array, "n n"]) -> LeftSingular:
    """Returns singular values and left vectors of J from J J^T, in float64. O(n^3)."""
    matrix = np.asarray(gram, np.float64)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    negative = float(min(values[0], 0.0) / values[-1])
    return LeftSingular(
        np.sqrt(np.maximum(values[::-1], 0.0)), vectors[:, ::-1], negative
    )


def energy(basis: np.ndarray, vector: Float[Array, " n"] | np.ndarray) -> float:
    """Returns the share of |vector|^2 in the span of orthonormal columns; NaN of 0."""
    vector = np.asarray(vector, np.float64)
    total = float(vector @ vector)
    return float(np.square(basis.T @ vector).sum() / total) if total else np.nan


@checked
def cluster_basis(
    cluster: Int[Array, " n"], clusters: int
) -> Float[np.ndarray, "n {clusters}"]:
    """Returns an orthonormal basis of S+: 1/sqrt(n_l) on cluster l, zero elsewhere.

    Raises:
        InputError: if a cluster has no point.
    """
    inside = np.asarray(cluster)[:, None] == np.arange(clusters)[None]
    sizes = inside.sum(axis=0)
    if not sizes.all():
        raise InputError(
            f"`cluster` must hold each of {clusters} clusters, got none of "
            f"{int(sizes.argmin())}."
        )
    return inside / np.sqrt(sizes)[None]


@checked
def extremes(gram: Float[Array, "n n"], basis: np.ndarray) -> Extremes:
    """Returns alpha, beta and eps of a Jacobian, in float64. O(n^3).

    Args:
        gram: J J^T.
        basis: of S+, orthonormal columns.
    """
    matrix = np.asarray(gram, np.float64)
    on_plus = np.linalg.eigvalsh(basis.T @ matrix @ basis)
    rest = np.eye(len(matrix)) - basis @ basis.T
    off = np.linalg.eigvalsh(rest @ matrix @ rest)[-1]
    alpha, beta, eps = np.sqrt(np.maximum([on_plus[0], on_plus[-1], off], 0.0))
    return Extremes(float(alpha), float(beta), float(eps))


@checked
def segment_gram(
    start: TwoLayer, end: TwoLayer, x: Float[Array, "n d"]
) -> Float[Array, "n n"]:
    """J J^T of the Jacobian averaged over the straight segment from W0 to W.

    Exact, docs/theory/two_layer.md (C3): along the segment a pre-activation moves
    linearly, so that the average of phi' over it is the divided difference (phi(h) -
    phi(h0))/(h - h0). With this J, f(W) - f(W0) = J (W - W0) without remainder, kinks
    or not. O(n^2 m).

    Args:
        start: network at W0, without biases.
        end: the same network at W.
        x: the points.

    Raises:
        InputError: if there are biases.
    """
    if start.b is not None:
        raise InputError("`start` must have no biases, got some.")
    return _segment_gram(start, end, x)


@jax.jit
def _segment_gram(start, end, x):
    phi = start.activation.fn
    one, two = (x @ net.w.T for net in (start, end))
    middle = (one + two) / 2
    slope = jax.jvp(phi, (middle,), (jnp.ones_like(middle),))[1]
    size = 1 + jnp.abs(one) + jnp.abs(two)
    close = jnp.abs(two - one) < _CLOSE[one.dtype.name] * size
    # across a kink at zero the quotient keeps its digits, and the slope would be wrong
    close = close & (one * two > 0)
    apart = jnp.where(close | (one == two), 1.0, two - one)
    mean = jnp.where(close | (one == two), slope, (phi(two) - phi(one)) / apart)
    mean = mean * start.a[None]
    return (x @ x.T) * (mean @ mean.T)
