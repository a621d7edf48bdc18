"""How far a quadrature dual may be truncated, and how far it is."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.corruption.base import Corruption
from theory.errors import NumericalError
from theory.kernels.architecture import Architecture
from theory.kernels.propagation import first_layer_variance, through_layers
from theory.numerics import doors
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
            f"{error:.1g}: raise `terms` of theory.custom, which suits functions that "
            "are smooth apart from zero."
        )


def check_points(arch: Architecture, *xs: Float[Array, "_ d"]) -> None:
    """Raises `NumericalError` where the series is too short at points. Host only."""
    if arch.phi.closed_form or not doors.concrete(arch, xs):
        return
    for x in xs:
        check_truncation(arch, float(truncation_error(x, arch)))


def check_law(arch: Architecture, corruption: Corruption, problem: Problem) -> None:
    """Raises `NumericalError` where the series is too short for a law. Host only.

    At the mean variances of corrupted training images, and those of test points.
    """
    if arch.phi.closed_form or not doors.concrete(arch, corruption, problem):
        return
    seen = corruption.moments(problem.x_train)
    square = (seen.mean**2 + seen.var).mean(axis=1)
    for q in (
        arch.b_var + arch.w_var * square,
        first_layer_variance(problem.x_test, arch),
    ):
        check_truncation(arch, float(_at_variances(q, arch)))


@jax.jit
def truncation_error(x: Float[Array, "n d"], arch: Architecture) -> Float[Array, ""]:
    """Returns the largest relative truncation error of the dual over points and layers.

    Zero for closed forms. A bound near correlation one, see `error` of
    `theory.activations.duals.Dual`.
    """
    return _at_variances(first_layer_variance(x, arch), arch)


@jax.jit
def _at_variances(q: Float[Array, " n"], arch: Architecture) -> Float[Array, ""]:
    dual = arch.phi.dual

    def step(at, layer):
        q, worst = at
        worst = jnp.maximum(worst, dual.error(q).max())
        return layer.covariance(dual.diag(q).value), worst

    return through_layers(step, (q, jnp.zeros((), q.dtype)), arch)[1]
