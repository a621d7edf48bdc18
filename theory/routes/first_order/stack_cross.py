"""Fluctuation of the class-mean law of a stack over corruption draws.

The expansion is that of `fluctuations`; what it needs of the noise of a training image
is here known by projections, and what they leave by samples.

Equations: docs/theory/architectures.md (M9).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from theory.numerics.edges import matmul
from theory.outputs.covariances import unknown_init_cov
from theory.records import record


def _outer(points, classes):
    """Products of every entry of `points` with the matrix `classes`."""
    return points[..., None, None] * classes.reshape((1,) * points.ndim + classes.shape)


@record(kw_only=True)
class StackCross:
    """Covariance of the outputs at pairs of test points over corruption draws.

    Attributes:
        weights: of every test point's functional of a training point, on k polynomials.
        left: what these leave of it, at s samples, over the root of their number.
        back: beta_*, factor of s_i by which a dual weight answers.
        shared: weights of the functional that all training points share.
        gamma: products of the dual weights, summed over training points.
        outer: s_i s_j.
        pair_var: variance of an entry beside what single images move of it.
        n: number of training points, copies counted.
    """

    weights: Float[Array, "n k"]
    left: Float[Array, "n s"]
    back: Float[Array, " n"]
    shared: Float[Array, " k"]
    gamma: Float[Array, "c c"]
    outer: Float[Array, "c c"]
    pair_var: Float[Array, ""]
    n: Float[Array, ""]

    def _assemble(self, a, b, paired):
        """(M9) for aligned back and covariance with the shared functional."""
        (back_a, with_a), (back_b, with_b) = a, b
        both = back_a * back_b
        own = paired + (self.n - 2) * both * self.pair_var
        of_shared = self.n * both * (self.shared**2).sum()
        common = of_shared - back_b * with_a - back_a * with_b + both * self.pair_var
        return _outer(own, self.gamma) + _outer(common, self.outer)

    def _parts(self, points):
        weights = self.weights[points]
        return self.back[points], matmul(weights, self.shared[:, None])[:, 0]

    def same_point(self) -> Float[Array, "n c c"]:
        """Returns the covariance of the outputs of every test point."""
        parts = self._parts(slice(None))
        return self._assemble(parts, parts, self.variance())

    def variance(self) -> Float[Array, " n"]:
        """Returns the variance of every test point's functional."""
        return (self.weights**2).sum(-1) + (self.left**2).sum(-1)

    @jax.jit
    def cov(
        self,
        a: Int[Array, " n_a"] | Int[np.ndarray, " n_a"],
        b: Int[Array, " n_b"] | Int[np.ndarray, " n_b"],
    ) -> Float[Array, "n_a n_b c c"]:
        """Returns Cov(f_i(x_a), f_j(x_b)) over draws: O(n_a n_b (k + s + c^2)).

        Args:
            a: indices of test points, the rows.
            b: indices of test points, the columns.
        """
        a, b = jnp.asarray(a), jnp.asarray(b)
        paired = matmul(self.weights[a], self.weights[b].T)
        paired = paired + matmul(self.left[a], self.left[b].T)
        rows = [part[:, None] for part in self._parts(a)]
        return self._assemble(rows, [part[None, :] for part in self._parts(b)], paired)

    def init_cov(
        self,
        a: Int[Array, " n_a"] | Int[np.ndarray, " n_a"],
        b: Int[Array, " n_b"] | Int[np.ndarray, " n_b"],
    ) -> Float[Array, "n_a n_b"]:
        """Raises `InputError`: what one initialisation adds is not known here."""
        raise unknown_init_cov()
