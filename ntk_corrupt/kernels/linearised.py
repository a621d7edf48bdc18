"""A network as its tangent at some parameters: regression with its own kernel.

    f(x) = f_0(x) + Theta(x, X) (Theta(X, X) + ridge)^{-1} (Y - f_0(X))

is where gradient descent on the squared loss ends if the network stays at its tangent:
f_0 its outputs at the start, Theta its empirical tangent kernel of all outputs. Rows of
test points are never formed: Theta(x, X) a is the derivative of the outputs at x along
the sum of gradients that a weighs.

References: Lee et al. 2019, arXiv:1902.06720.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PyTree

from ntk_corrupt.kernels import empirical
from theory.errors import InputError, NumericalError
from theory.numerics import memory, solve
from theory.numerics.signatures import checked

# Outputs at training points up to which the kernel is held and factored.
_LARGEST = 20_000
_TOLERANCE, _ITERATIONS = 1e-6, 2000


def _tangent(model: nn.Module, params: PyTree, x: Array):
    """Outputs as a function of the parameters, and its derivative both ways."""
    of = lambda params: model.apply(params, x)
    along = lambda change: jax.jvp(of, (params,), (change,))[1]
    back = lambda weights: jax.vjp(of, params)[1](weights)[0]
    return along, back


@functools.partial(jax.jit, static_argnames="model")
def _outputs(model, start, x):
    return model.apply(start, x)


@functools.partial(jax.jit, static_argnames="model")
def _predicted(model, start, at, rates, x, x_test, weights):
    """Outputs at test points from dual weights (n, c)."""
    change = jax.tree.map(jnp.multiply, rates, _tangent(model, at, x)[1](weights))
    return model.apply(start, x_test) + _tangent(model, at, x_test)[0](change)


@jax.jit
def _factored(kernel, rhs, ridge):
    n, c = rhs.shape
    smoother = solve.inverse(kernel.reshape(n * c, n * c), ridge)
    return smoother.apply(rhs.reshape(-1, 1)).reshape(n, c), smoother.margin


@functools.partial(jax.jit, static_argnames="model")
def _iterated(model, at, rates, x, rhs, ridge):
    along, back = _tangent(model, at, x)
    faster = lambda change: jax.tree.map(jnp.multiply, rates, change)
    times = lambda v: along(faster(back(v))) + ridge * v
    found, _ = jax.scipy.sparse.linalg.cg(
        times, rhs, tol=_TOLERANCE, maxiter=_ITERATIONS
    )
    return found, jnp.linalg.norm(times(found) - rhs) / jnp.linalg.norm(rhs)


def _weights(model, at, rates, x, rhs, ridge) -> Array:
    """Dual weights: by Cholesky while the kernel fits, or by conjugate gradients."""
    size = rhs.size
    if size <= _LARGEST:
        memory.check_memory(
            4 * size**2 * rhs.dtype.itemsize,
            f"the tangent kernel of {size} outputs",
            "use fewer images or classes",
        )
        kernel = empirical.ntk(model, at, x, "all", rates=rates)
        found, margin = _factored(kernel, rhs, ridge)
        if not bool(solve.trusted(margin, size, rhs.dtype, flow=False)):
            raise NumericalError(
                f"the tangent kernel of {size} outputs in {rhs.dtype} is near singular "
                f"(relative margin {float(margin):.2g}): use float64, a `ridge`, or a "
                "wider network."
            )
        return found
    found, residual = _iterated(model, at, rates, x, rhs, ridge)
    if not float(residual) < 10 * _TOLERANCE:
        raise NumericalError(
            f"conjugate gradients left a residual of {float(residual):.2g} after "
            f"{_ITERATIONS} products with the tangent kernel of {size} outputs: use "
            "float64, a `ridge`, or fewer images."
        )
    return found


@checked
def regress(
    model: nn.Module,
    params: PyTree,
    x: Float[Array, "n d"],
    y: Float[Array, "n c"],
    x_test: Float[Array, "m d"],
    *,
    at: PyTree | None = None,
    rates: PyTree | None = None,
    ridge: float = 0.0,
) -> Float[Array, "m c"]:
    """Returns what a network predicts that is trained to the end at its tangent.

    Cost: the kernel, see `empirical.ntk`, and (n c)^3/3 multiply-adds; above 20 000
    outputs n c conjugate gradients, with passes forth and back through the network in
    place of the kernel.

    Args:
        model: a network made of `models.Layer`, as `empirical.ntk` takes it.
        params: its parameters, from which it starts.
        x: training points; everything is computed in their dtype.
        y: targets.
        x_test: points to predict at.
        at: parameters of the tangent; `params` if None. With those after training, the
            regression with the final kernel from the same start.
        rates: as in `empirical.ntk`.
        ridge: added to the diagonal of the kernel, in its units.

    Raises:
        InputError: for a network that is not made of such layers.
        NumericalError: where the kernel is too near singular for its dtype.
    """
    if not 0 <= ridge < float("inf"):
        raise InputError(f"`ridge` must be finite and not negative, got {ridge}.")
    cast = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, x.dtype), tree)
    start = cast(params)
    tangent = start if at is None else cast(at)
    left = y.astype(x.dtype) - _outputs(model, start, x)
    faster = empirical.checked_rates(params, rates, x.dtype)
    weights = _weights(model, tangent, faster, x, left, jnp.asarray(ridge, x.dtype))
    x_test = x_test.astype(x.dtype)
    return _predicted(model, start, tangent, faster, x, x_test, weights)
