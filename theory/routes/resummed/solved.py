"""The solved training of the resummed law: all that its predictions need."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.kernels.propagation import KernelPair
from theory.linearised import linearise
from theory.linearised.layered import Measured, by_layers
from theory.linearised.training_kernel import TrainingKernel, combined
from theory.numerics import solve
from theory.numerics.edges import matmul
from theory.records import record
from theory.regression import equivalent
from theory.regression.flow import Flow
from theory.routes.resummed.one_draw import Draw

T = TypeVar("T")


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
    """The derivative of the regression along a direction of s.

    Attributes:
        along: the direction, of the size of `Side.s`.
        slope: derivatives of the solved side, in the places of what they are of; those
            of `equivalent.along`.
        weight: of the derivative in what an initialisation adds.
    """

    along: Array
    slope: Side
    weight: Array

    def of(self, fn: Callable[[Side], T], centre: Side) -> T:
        """Returns the derivative of what `fn` makes of the side."""
        inexact = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact)
        slope = jax.tree.map(
            lambda leaf, moved: (
                moved if inexact(leaf) else np.zeros(leaf.shape, jax.dtypes.float0)
            ),
            centre,
            self.slope,
        )
        return jax.jvp(fn, (centre,), (slope,))[1]

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

    def kernels(self, fn: Callable[[Architecture], Measured]) -> Measured:
        """Returns what `fn` measures of the kernels that `Side.s` mixes."""
        return fn(self.arch) if self.shared is None else by_layers(fn, self.arch)


class _Frame(NamedTuple):
    """Eigenvalues and eigenvectors of the kernel of images without noise."""

    values: Float[Array, " n"]
    vectors: Float[Array, "n n"]


class Setting(NamedTuple):
    """What is trained, at any s.

    Attributes:
        arch: the architecture.
        measured: its kernel on the training images.
        basis: of landmarks, None for none.
        y: targets.
        ridge: added to the diagonal of the kernel.
        copies: of every training image.
    """

    arch: Architecture
    measured: TrainingKernel
    basis: Float[Array, "r k"] | None
    y: Float[Array, "n c"]
    ridge: Float[Array, ""]
    copies: Float[Array, ""]


def _noiseless(setting: Setting, s) -> tuple[equivalent.Rows, linearise.Scales, Array]:
    """Rows of images without noise, and the scaled kernel that they are to have."""
    measured = setting.measured
    rows, scales = linearise.rows(
        setting.arch, measured, setting.y, s=s, ridge=setting.ridge
    )
    kernel, at = combined(measured.entries, s), jnp.arange(len(setting.y))
    kernel = kernel.at[at, at].set(combined(measured.diag, s) + setting.ridge)
    return rows, scales, kernel / (scales.row[:, None] * scales.row[None, :])


@jax.jit
def _frame(setting: Setting, s) -> _Frame:
    return _Frame(*jnp.linalg.eigh(_noiseless(setting, s)[2]))


def _rows(
    setting: Setting, frame: _Frame | None, s
) -> tuple[equivalent.Rows, linearise.Scales]:
    """The regression at s; near the s of the frame where there is one."""
    if frame is None:
        return linearise.rows(
            setting.arch,
            setting.measured,
            setting.y,
            setting.basis,
            s=s,
            ridge=setting.ridge,
            copies=setting.copies,
        )
    rows, scales, kernel = _noiseless(setting, s)
    rotated = lambda part: matmul(frame.vectors.T, part)
    n, m = rows.mean.shape
    # features know noise of test points alone; beside them every row is one of its own,
    # whose weights are what moves with s
    moved = matmul(rotated(kernel), frame.vectors) - jnp.diag(frame.values)
    weight = jnp.pad(moved, ((m, 0), (m, 0)))
    unit = jnp.eye(n, dtype=rows.y.dtype)
    return equivalent.Rows(
        base=frame.values,
        mean=jnp.concatenate([rotated(rows.mean), unit], axis=1),
        weight=weight,
        noise=jnp.zeros_like(weight),
        y=rotated(rows.y),
        idle=jnp.zeros_like(frame.values[:0]),
        idle_count=jnp.zeros((), rows.y.dtype),
    ), scales


_rows_at = jax.jit(_rows)


def solve_side(
    setting: Setting, s: Array, *, noiseless: bool = False, near: Side | None = None
) -> Side:
    """Solves the regression for the kernel ntk + s nngp, from that of an s `near`."""
    frame = None
    if noiseless:
        frame = _frame(setting, s)
        # without noise nothing tells identical images apart
        margin = float(frame.values.min() / jnp.abs(frame.values).max())
        mean = setting.measured.train.mean
        solve.check(margin, mean, flow=False, ridge=float(setting.ridge))
    rows, scales = _rows_at(setting, frame, s)
    start = None if near is None else (near.solution.tau, near.solution.omega)
    return Side(
        s=s,
        solution=equivalent.solve(rows, start, equivalent.moments_of(rows)),
        scales=scales,
        rotation=None if frame is None else frame.vectors,
    )


def direction(setting: Setting, centre: Side, along: Array, weight: Array) -> Direction:
    """Returns the derivative of the solved centre along a direction of s."""
    return Direction(along=along, slope=_slope(setting, centre, along), weight=weight)


@jax.jit
def _slope(setting: Setting, centre: Side, along: Array) -> Side:
    frame, rotation = None, centre.rotation
    if rotation is not None:
        frame = _Frame(centre.solution.rows.base, rotation)
    at = lambda s: _rows(setting, frame, s)
    rows, scales = jax.jvp(at, (centre.s,), (along,))[1]
    return Side(
        s=along,
        solution=equivalent.along(centre.solution, rows),
        scales=scales,
        rotation=None if rotation is None else jnp.zeros_like(rotation),
    )
