"""The solved training of the resummed law: all that its predictions need."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.kernels.propagation import KernelPair
from theory.linearised import linearise
from theory.linearised.landmarks import Landmarks
from theory.linearised.layered import Measured, by_layers
from theory.linearised.training_kernel import TrainingKernel, combined
from theory.numerics import solve
from theory.records import record
from theory.regression import equivalent
from theory.regression.flow import Flow
from theory.routes.resummed.one_draw import Draw

# Step of the derivatives in s, as a power of the rounding error: its square is theirs.
_STEP = 1 / 5


@record(kw_only=True)
class Side:
    """The solved regression for the kernel ntk + s nngp; s may mix several (W10).

    `rotation` takes test rows to the rows of the solution; None if they are the same.
    """

    s: Array
    solution: equivalent.Equivalent
    scales: linearise.Scales
    rotation: Array | None


@record(kw_only=True)
class Direction:
    """The regression at both ends of a small step in s, for derivatives in it.

    Attributes:
        along: the direction, of the size of `Side.s`.
        step: from the centre to either end.
        below, above: the ends.
        weight: of the derivative in what an initialisation adds.
    """

    along: Array
    step: Array
    below: Side
    above: Side
    weight: Array

    def slope(self, below: Array, above: Array) -> Array:
        """Returns the derivative of what has these values at the ends."""
        return (above - below) / (2 * self.step)

    def of_start(self, pair: KernelPair) -> Array:
        """Returns the kernel of the direction."""
        return jnp.tensordot(pair.nngp, self.along, axes=jnp.ndim(self.along))


@record(kw_only=True)
class Shared:
    """What a finite width adds, (W10).

    Attributes:
        draw: what was looked at in one draw.
        by_targets: how the shares of the hidden layers answer to products of targets.
        residual: relative change of the shares by a last step.
    """

    draw: Draw
    by_targets: Float[Array, "l c c"]
    residual: Float[Array, ""]


@record(kw_only=True)
class Solved:
    """The solved training: nothing in it belongs to test points.

    `directions` are what `init_var` is made of; empty without. `flow` is the regression
    trained for a finite time, None if trained to the end. `shared` is None at infinite
    width.
    """

    arch: Architecture
    measured: TrainingKernel
    centre: Side
    directions: tuple[Direction, ...]
    copies: Array
    flow: Flow | None
    shared: Shared | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """Both ends of every direction."""
        return tuple(
            side for each in self.directions for side in (each.below, each.above)
        )

    def kernels(self, fn: Callable[[Architecture], Measured]) -> Measured:
        """Returns what `fn` measures of the kernels that `Side.s` mixes."""
        return fn(self.arch) if self.shared is None else by_layers(fn, self.arch)


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
    s: Array,
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
        solution=equivalent.solve(rows, start, equivalent.moments_of(rows)),
        scales=scales,
        rotation=rotation,
    )


def direction(
    centre: Side,
    along: Array,
    weight: Array,
    *,
    reduced: Landmarks,
    solve_at: Callable[..., Side],
) -> Direction:
    """Returns both ends of a step along a direction of s, solved from the centre.

    A step is 7e-4 in float64, in units of the tangent kernel over the direction's.
    """
    diag, eps = reduced.measured.diag, jnp.finfo(along.dtype).eps
    # not the kernel of the direction, which may be a difference of equals
    size = jnp.tensordot(diag.nngp, jnp.abs(along), axes=jnp.ndim(along)).mean()
    step = eps**_STEP * diag.ntk.mean() / size
    below, above = (
        solve_at(centre.s + sign * step * along, near=centre) for sign in (-1, 1)
    )
    return Direction(along=along, step=step, below=below, above=above, weight=weight)
