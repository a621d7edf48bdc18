"""Two-layer networks whose output layer is fixed: f(x) = sum_j a_j phi(w_j x + b_j).

What the sources on label noise and on adversarial perturbations train. They differ from
`ntk_corrupt.models` in that only w and b move, and have one output.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.activations.registry import Activation
from theory.errors import InputError, check_count
from theory.keys import stream
from theory.numerics import memory
from theory.numerics.signatures import checked
from theory.records import record


@record(kw_only=True)
class LeakyRelu:
    """The leaky rectifier as `theory.leaky_relu` has it, its slope traced.

    A sweep over slopes compiles once. It has no dual.

    Attributes:
        slope: where the argument is negative.
    """

    slope: Float[Array, ""]

    def fn(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns max(u, 0) + slope min(u, 0)."""
        return jnp.where(u > 0, u, self.slope * u)


@record(kw_only=True)
class TwoLayer:
    """A network; a record, so that it goes through jit, grad and vmap.

    Attributes:
        w: weights of the m hidden units, trained.
        b: their biases, trained; None if there are none.
        a: weights of the output, fixed.
        activation: phi; an `Activation` is part of the jit key.
    """

    w: Float[Array, "m d"]
    b: Float[Array, " m"] | None
    a: Float[Array, " m"]
    activation: Activation | LeakyRelu

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        """Returns the outputs. O(n m d)."""
        return self.activation.fn(self._hidden(x)) @ self.a

    def moved(self, w, b) -> "TwoLayer":
        """Returns the network with other trained weights."""
        return dataclasses.replace(self, w=w, b=b)

    def jacobian_gram(
        self, x1: Float[Array, "n d"], x2: Float[Array, "k d"]
    ) -> Float[Array, "n k"]:
        """J(x1) J(x2)^T of the trained weights, without the Jacobians. O(n k (m + d)).

        (x1 x2^T + 1 if there are biases) times, entry by entry,
        phi'(h1) diag(a^2) phi'(h2)^T.
        """
        inputs = x1 @ x2.T + (0.0 if self.b is None else 1.0)
        return inputs * (self._slopes(x1) @ self._slopes(x2).T)

    def _hidden(self, x):
        h = x @ self.w.T
        return h if self.b is None else h + self.b[None]

    def _slopes(self, x):
        h = self._hidden(x)
        slope = jax.jvp(self.activation.fn, (h,), (jnp.ones_like(h),))[1]
        return slope * self.a[None]


def _check_sizes(d: int, m: int) -> None:
    check_count("d", d)
    check_count("m", m)
    memory.check_memory(8 * d * m, "the weights", "use a smaller width `m`")


@checked
def signed(
    activation: Activation | LeakyRelu, d: int, m: int, *, key: Array, dtype=jnp.float32
) -> TwoLayer:
    """Returns w ~ N(0, 1) without biases, a = 1/sqrt(m) for half, -1/sqrt(m) for half.

    As in Li, Soltanolkotabi & Oymak 2020, arXiv:1903.11680, theorem 2.2.

    Raises:
        InputError: unless `m` is even.
    """
    _check_sizes(d, m)
    if m % 2:
        raise InputError(f"`m` must be even, got {m}.")
    sign = jnp.where(jnp.arange(m) < m // 2, 1.0, -1.0).astype(dtype)
    w = jax.random.normal(stream(key, "init"), (m, d), dtype)
    return TwoLayer(w=w, b=None, a=sign / m**0.5, activation=activation)


@checked
def gaussian(
    activation: Activation | LeakyRelu, d: int, m: int, *, key: Array, dtype=jnp.float32
) -> TwoLayer:
    """Returns w ~ N(0, 1/d), b ~ N(0, 1), a ~ N(0, 1/m).

    As in Kumano, Kera & Yamasaki 2024, arXiv:2410.23677, section 4.
    """
    _check_sizes(d, m)
    keys = jax.random.split(stream(key, "init"), 3)
    return TwoLayer(
        w=jax.random.normal(keys[0], (m, d), dtype) / d**0.5,
        b=jax.random.normal(keys[1], (m,), dtype),
        a=jax.random.normal(keys[2], (m,), dtype) / m**0.5,
        activation=activation,
    )
