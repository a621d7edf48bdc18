"""A corruption draw of the exact route, for networks of finite width near their start.

Units are shared between the function that a network starts from and its tangent kernel,
so that training removes more of the one than a kernel of its own would. The parameter
is n_train/width. Equations: docs/theory/finite_width.md.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels import hidden_layers, truncation
from theory.kernels.architecture import Architecture
from theory.numerics import blocks
from theory.numerics.edges import matmul
from theory.problem import Problem
from theory.regression import finite_width
from theory.routes import of_width
from theory.routes.exact import draw_loop


class Outputs(NamedTuple):
    """Of one draw: mean outputs, and what one initialisation adds."""

    mean: Float[Array, "n c"]
    init_var: Float[Array, " n"] | None
    kernel_cov: Float[Array, "n c c"] | None


def one_draw(
    arch: Architecture, seen: Problem, ridge: Array, width: Array, *, variances: bool
) -> tuple[Outputs, dict[str, Array]]:
    """Returns the outputs of one draw, and diagnostics."""
    x, y = seen.x_train, seen.y
    both, own = hidden_layers.of_points(x, arch), hidden_layers.diagonal(x, arch)
    coupled = hidden_layers.couplings(arch, own, both)
    parts = of_width.units_of(arch, coupled, both, ridge)
    solved, smoother = finite_width.solve_shares(parts, y, width)
    weights = smoother.apply(y)
    left = of_width.remainder(arch, both, own, y, ridge, width) if variances else None

    def predict(x_test):
        rows = hidden_layers.between(x_test, x, arch)
        pieces = of_width.parts(arch, coupled, rows)
        kernel = of_width.rest(arch, coupled, rows.whole.ntk, rows)
        kernel = kernel + jnp.einsum("l,ltn->tn", solved.shares, pieces)
        mean = matmul(kernel, weights)
        if left is None:
            return mean, None
        alone = hidden_layers.diagonal(x_test, arch)
        start, learned = finite_width.variances(
            parts,
            solved,
            smoother.apply(kernel.T),
            pieces,
            of_width.parts(arch, coupled, alone),
        )
        remains = of_width.remaining(arch, left, rows, alone, own)
        return mean, (start, learned, remains)

    mean, found = blocks.map_rows(predict, seen.x_test, draw_loop.BLOCK)
    diagnostics = {
        "margin": smoother.margin,
        "train_mse": ((matmul(solved.kernel, weights) - y) ** 2).mean(),
        "truncation_error": truncation.worst_truncation(arch, seen),
        "width_residual": solved.residual,
    }
    if found is None:
        return Outputs(mean, None, None), diagnostics
    start, learned, remains = found
    init_var = start + remains
    total = init_var + jnp.trace(learned, axis1=1, axis2=2) / y.shape[1]
    diagnostics["remainder"] = remains.mean() / total.mean()
    return Outputs(mean, init_var, learned), diagnostics
