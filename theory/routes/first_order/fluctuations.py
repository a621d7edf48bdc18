"""Fluctuation of the class-mean law over corruption draws.

Equations: docs/theory/first_order.md (19)-(22).

To leading order in the noise of the kernel an output is a sum over training points of
linear functionals of their noise, and over pairs of training points of the noise of
their overlap. Two test points share all of these, so that their outputs are correlated.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from theory.outputs.covariances import unknown_init_cov
from theory.records import record


@record(kw_only=True)
class NoiseMoments:
    """Moments of the noise of a training point in the first layer.

    Attributes:
        var: sigma^2, variance of a pixel.
        norm_var: v_q, variance of q over draws.
        norm_cov: c_1, covariance of q with one pixel.
    """

    var: Float[Array, ""]
    norm_var: Float[Array, ""]
    norm_cov: Float[Array, ""]

    def paired(self, one: tuple[Any, Any], two: tuple[Any, Any], overlap: Any) -> Any:
        """Covariance V of functionals whose weights overlap so.

        Equation: docs/theory/first_order.md (19).

        Args:
            one: alpha and sum of weights.
            two: the same, of the other.
            overlap: product of their weights.
        """
        return (
            one[0] * two[0] * self.norm_var
            + self.norm_cov * (one[0] * two[1] + two[0] * one[1])
            + self.var * overlap
        )


def _outer(points, classes):
    """Products of every entry of `points` with the matrix `classes`."""
    return points[..., None, None] * classes.reshape((1,) * points.ndim + classes.shape)


@record(kw_only=True)
class FirstOrderCross:
    """Covariance of the outputs at pairs of test points over corruption draws.

    docs/theory/first_order.md (F6). Holds O(n d) numbers and makes (n_a, n_b, c, c) on
    demand. It knows nothing of single initialisations.

    Attributes:
        alpha: of every test point's functional, on the variance of a training point.
        weights: of the functional, on the pixels.
        back: beta_*, factor of s_i by which a dual weight answers.
        alpha_0: S, of the functional (S, w_0) that all training points share.
        weights_0: w_0, on every pixel alike.
        noise: moments of the noise.
        gamma: products of the dual weights, summed over training points.
        outer: s_i s_j.
        pair_var: T^2 C_w^2 sigma^4/d, noise of the overlap of two training points.
        n: number of training points, copies counted.
        own: covariance that a test point has with itself only, by its own noise.
    """

    alpha: Float[Array, " n"]
    weights: Float[Array, "n d"]
    back: Float[Array, " n"]
    alpha_0: Float[Array, ""]
    weights_0: Float[Array, ""]
    noise: NoiseMoments
    gamma: Float[Array, "c c"]
    outer: Float[Array, "c c"]
    pair_var: Float[Array, ""]
    n: Float[Array, ""]
    own: Float[Array, "n c c"] | None = None

    def _assemble(self, a, b, overlap):
        """docs/theory/first_order.md (F6) for aligned (alpha, sum of weights, back)."""
        d = self.weights.shape[1]
        zero = self.alpha_0, d * self.weights_0
        a_zero, b_zero = (
            self.noise.paired((alpha, total), zero, self.weights_0 * total)
            for alpha, total, _ in (a, b)
        )
        of_zero = self.noise.paired(zero, zero, d * self.weights_0**2)
        pair = a[2] * b[2] * self.pair_var
        own = self.noise.paired(a, b, overlap) + (self.n - 2) * pair
        shared = self.n * a[2] * b[2] * of_zero - b[2] * a_zero - a[2] * b_zero + pair
        return _outer(own, self.gamma) + _outer(shared, self.outer)

    def _parts(self, points):
        """Alpha, sum of weights and back of some test points."""
        return self.alpha[points], self.weights[points].sum(-1), self.back[points]

    def same_point(self) -> Float[Array, "n c c"]:
        """Returns the covariance of the outputs of every test point."""
        parts = self._parts(slice(None))
        cov = self._assemble(parts, parts, (self.weights**2).sum(-1))
        return cov if self.own is None else cov + self.own

    @jax.jit
    def cov(
        self,
        a: Int[Array, " n_a"] | Int[np.ndarray, " n_a"],
        b: Int[Array, " n_b"] | Int[np.ndarray, " n_b"],
    ) -> Float[Array, "n_a n_b c c"]:
        """Returns Cov(f_i(x_a), f_j(x_b)) over draws, docs/theory/first_order.md (F6).

        O(n_a n_b (d + c^2)). At a = b it is `OutputLaw.cov`.

        Args:
            a: indices of test points, the rows.
            b: indices of test points, the columns.
        """
        a, b = jnp.asarray(a), jnp.asarray(b)
        rows = [part[:, None] for part in self._parts(a)]
        columns = [part[None, :] for part in self._parts(b)]
        overlap = jnp.matmul(
            self.weights[a], self.weights[b].T, precision=jax.lax.Precision.HIGHEST
        )
        cov = self._assemble(rows, columns, overlap)
        if self.own is None:
            return cov
        same = (a[:, None] == b[None, :])[:, :, None, None]
        return cov + jnp.where(same, self.own[a][:, None], 0.0)

    def init_cov(
        self,
        a: Int[Array, " n_a"] | Int[np.ndarray, " n_a"],
        b: Int[Array, " n_b"] | Int[np.ndarray, " n_b"],
    ) -> Float[Array, "n_a n_b"]:
        """Raises `InputError`: what one initialisation adds is not known here."""
        raise unknown_init_cov()
