"""The largest singular value of a network's Jacobian, on some vectors of its outputs.

By products with the Jacobian alone, forwards and backwards: nothing of its size is
held.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PyTree

from theory.errors import InputError
from theory.numerics.signatures import checked


@checked
def largest(
    model: nn.Module,
    params: PyTree,
    x: Float[Array, "n d"],
    basis: Float[Array, "n k"],
    *,
    iterations: int = 12,
) -> Float[Array, ""]:
    """Returns |(B B^T x 1) J|, the same B for every output, by power iteration.

    J is the Jacobian of all outputs at all points by all parameters. Below the value,
    and nearer with every iteration: of a second value at share s of the first, by a
    share s^(4 iterations). O(iterations) passes forwards and backwards.

    Args:
        model: the network.
        params: its parameters.
        x: points.
        basis: orthonormal columns.
        iterations: of the power method.

    Raises:
        InputError: without an iteration.
    """
    if iterations < 1:
        raise InputError(f"`iterations` must be at least 1, got {iterations}.")
    return _largest(model, params, x, basis, iterations)


@functools.partial(jax.jit, static_argnames=("model", "iterations"))
def _largest(model, params, x, basis, iterations):
    outputs = lambda params: model.apply(params, x)
    y, pull = jax.vjp(outputs, params)

    def step(_, state):
        v, _ = state
        (back,) = pull(basis @ v)
        _, forth = jax.jvp(outputs, (params,), (back,))
        u = basis.T @ forth
        norm = jnp.linalg.norm(u)
        return u / jnp.where(norm > 0, norm, 1.0), norm

    # no vector of the basis is left out, and none weighs as another
    start = jnp.cos(jnp.arange(basis.shape[1] * y.shape[1], dtype=y.dtype) ** 2)
    start = start.reshape(basis.shape[1], -1)
    start = start / jnp.linalg.norm(start)
    _, square = jax.lax.fori_loop(0, iterations, step, (start, jnp.zeros((), y.dtype)))
    return jnp.sqrt(square)
