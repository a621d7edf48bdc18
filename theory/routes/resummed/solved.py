"""The solved training of the resummed law: all that its predictions need."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.linearised import linearise
from theory.linearised.landmarks import Landmarks
from theory.linearised.training_kernel import TrainingKernel, combined
from theory.numerics import solve
from theory.records import record
from theory.regression import equivalent
from theory.regression.flow import Flow


@record(kw_only=True)
class Side:
    """The solved regression for the kernel ntk + s nngp.

    `rotation` takes test rows to the rows of the solution; None if they are the same.
    """

    s: Array
    solution: equivalent.Equivalent
    scales: linearise.Scales
    rotation: Array | None


@record(kw_only=True)
class Solved:
    """The solved training: nothing in it belongs to test points.

    `sides` are at -step and +step, for the derivative in s; empty without `init_var`.
    `flow` is the regression trained for a finite time, None if trained to the end.
    """

    arch: Architecture
    measured: TrainingKernel
    centre: Side
    sides: tuple[Side, ...]
    copies: Array
    flow: Flow | None


@jax.jit
def _noiseless(arch, measured, y, s, ridge):
    """The regression without noise: the mean kernel is the kernel."""
    rows, scales = linearise.rows(arch, measured, y, s=s, ridge=ridge)
    kernel = combined(measured.entries, s)
    n = kernel.shape[0]
    kernel = kernel.at[jnp.arange(n), jnp.arange(n)].set(
        combined(measured.diag, s) + ridge
    ) / (scales.row[:, None] * scales.row[None, :])
    zero = jnp.zeros_like(rows.weight)
    rotated, rotation = equivalent.diagonalised(kernel, rows.mean, zero, zero, rows.y)
    return rotated, scales, rotation


def solve_side(
    s: Float[Array, ""],
    *,
    arch: Architecture,
    reduced: Landmarks,
    y: Float[Array, "n c"],
    ridge: Float[Array, ""],
    copies: Float[Array, ""],
    near: Side | None = None,
) -> Side:
    """Solves the regression for the kernel ntk + s nngp, from that of an s `near`."""
    rotation = None
    measured = reduced.measured
    if reduced.level == "noiseless":
        rows, scales, rotation = _noiseless(arch, measured, y, s, ridge)
        # without noise nothing tells identical images apart
        margin = float(rows.base.min() / jnp.abs(rows.base).max())
        solve.check(margin, measured.train.mean, flow=False, ridge=float(ridge))
    else:
        rows, scales = linearise.rows(
            arch, measured, y, reduced.basis, s=s, ridge=ridge, copies=copies
        )
    start = None if near is None else (near.solution.tau, near.solution.omega)
    return Side(
        s=s,
        solution=equivalent.solve(rows, start),
        scales=scales,
        rotation=rotation,
    )
