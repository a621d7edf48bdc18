"""How far a quadrature dual may be truncated, and how far it is."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.errors import NumericalError
from theory.kernels.architecture import Architecture
from theory.kernels.propagation import first_layer_variance, through_layers
from theory.problem import Problem

# Largest relative truncation error of a quadrature dual that is let pass.
_TRUNCATION = 1e-5


def worst_truncation(arch: Architecture, problem: Problem) -> Array:
    """Returns the largest relative truncation error of the dual at the images."""
    return jnp.maximum(
        truncation_error(problem.x_train, arch),
        truncation_error(problem.x_test, arch),
    )


def check_truncation(arch: Architecture, error: float) -> None:
    """Raises `NumericalError` if `error` is too large to be let pass. Host only."""
    if not error < _TRUNCATION:
        raise NumericalError(
            f"the dual of {arch.phi.name} is truncated with relative error "
            f"{error:.1g}: raise `terms` of theory.activations.custom."
        )


@jax.jit
def truncation_error(x: Float[Array, "n d"], arch: Architecture) -> Float[Array, ""]:
    """Returns the largest relative truncation error of the dual over points and layers.

    Zero for closed forms. A bound near correlation one, see `error` of
    `theory.activations.duals.Dual`.
    """
    dual = arch.phi.dual
    q = first_layer_variance(x, arch)

    def step(at, layer):
        q, worst = at
        worst = jnp.maximum(worst, dual.error(q).max())
        return layer.covariance(dual.diag(q).value), worst

    return through_layers(step, (q, jnp.zeros((), x.dtype)), arch)[1]
