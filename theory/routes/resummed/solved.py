"""The solved training of the resummed law: all that its predictions need."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.kernels.propagation import KernelPair
from theory.linearised import linearise
from theory.linearised.features import Scales
from theory.linearised.layered import Measured, by_layers
from theory.linearised.training_kernel import TrainingKernel, combined
from theory.numerics import solve
from theory.numerics.edges import matmul
from theory.records import record
from theory.regression import derivative, equivalent
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
    scales: Scales
    rotation: Array | None


@record(kw_only=True)
class Direction:
    """The derivative of the regression along a direction of s.

    Attributes:
        along: the direction, of the size of `Side.s`.
        slope: derivatives of the solved side, in the places of what they are of; those
            of `derivative.along`.
        weight: of the derivative in what an initialisation adds.
        kernel: derivative of the kernel between rotated rows; None without rotation.
    """

    along: Array
    slope: Side
    weight: Array
    kernel: Float[Array, "n n"] | None

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


def _noiseless(setting: Setting, s) -> tuple[equivalent.Rows, Scales, Array]:
    """Rows of images without noise, and the scaled kernel that they are to have."""
    measured = setting.measured
    rows, scales = linearise.rows(
        setting.arch, measured, setting.y, s=s, ridge=setting.ridge
    )
    kernel, at = combined(measured.entries, s), jnp.arange(len(setting.y))
    kernel = kernel.at[at, at].set(combined(measured.diag, s) + setting.ridge)
    return rows, scales, kernel / (scales.row[:, None] * scales.row[None, :])


@jax.jit
def _rotation(setting: Setting, s) -> tuple[Array, Array]:
    """Eigenvalues and eigenvectors of the kernel of images without noise."""
    values, vectors = jnp.linalg.eigh(_noiseless(setting, s)[2])
    return values, vectors


def _rotated(setting: Setting, s, vectors: Array) -> tuple[Array, Array, Scales, Array]:
    """Features and targets in the frame of some vectors, scales, and the kernel."""
    rows, scales, kernel = _noiseless(setting, s)
    turned = lambda part: matmul(vectors.T, part)
    return turned(rows.mean), turned(rows.y), scales, matmul(turned(kernel), vectors)


@jax.jit
def _rows(
    setting: Setting, frame: tuple[Array, Array] | None, s
) -> tuple[equivalent.Rows, Scales]:
    """The regression at s, in the frame of its kernel where it has no noise."""
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
    values, vectors = frame
    mean, y, scales, _ = _rotated(setting, s, vectors)
    # features know noise of test points alone: the kernel is the base
    zero = jnp.zeros((mean.shape[1],) * 2, y.dtype)
    return equivalent.Rows(
        base=values,
        mean=mean,
        weight=zero,
        noise=zero,
        y=y,
        idle=jnp.zeros_like(values[:0]),
        idle_count=jnp.zeros((), y.dtype),
    ), scales


def solve_side(
    setting: Setting, s: Array, *, noiseless: bool = False, near: Side | None = None
) -> Side:
    """Solves the regression for the kernel ntk + s nngp, from that of an s `near`."""
    frame = None
    if noiseless:
        values, _ = frame = _rotation(setting, s)
        # without noise nothing tells identical images apart
        margin = float(values.min() / jnp.abs(values).max())
        mean = setting.measured.train.mean
        solve.check(margin, mean, flow=False, ridge=float(setting.ridge))
    rows, scales = _rows(setting, frame, s)
    start = None if near is None else (near.solution.tau, near.solution.omega)
    return Side(
        s=s,
        solution=equivalent.solve(rows, start, equivalent.moments_of(rows)),
        scales=scales,
        rotation=None if frame is None else frame[1],
    )


def direction(setting: Setting, centre: Side, along: Array, weight: Array) -> Direction:
    """Returns the derivative of the solved centre along a direction of s."""
    if centre.rotation is None:
        return Direction(
            along=along,
            slope=_slope(setting, centre, along),
            weight=weight,
            kernel=None,
        )
    slope, kernel = _slope_without_noise(setting, centre, along)
    return Direction(along=along, slope=slope, weight=weight, kernel=kernel)


@jax.jit
def _slope(setting: Setting, centre: Side, along: Array) -> Side:
    at = lambda s: _rows(setting, None, s)
    rows, scales = jax.jvp(at, (centre.s,), (along,))[1]
    solution = derivative.along(centre.solution, rows)
    return Side(s=along, solution=solution, scales=scales, rotation=None)


@jax.jit
def _slope_without_noise(
    setting: Setting, centre: Side, along: Array
) -> tuple[Side, Array]:
    """The same of rotated rows, and of the kernel between them."""
    assert centre.rotation is not None
    vectors, values = centre.rotation, centre.solution.rows.base
    at = lambda s: _rotated(setting, s, vectors)
    mean, y, scales, kernel = jax.jvp(at, (centre.s,), (along,))[1]
    rows = jax.tree.map(jnp.zeros_like, centre.solution.rows)
    solution = derivative.along(
        centre.solution, dataclasses.replace(rows, mean=mean, y=y)
    )
    # the base moves by a matrix: what predictions use of it
    weighted = centre.solution.rows.mean / values[:, None]
    moved = matmul(weighted.T, matmul(kernel, weighted))
    solution = dataclasses.replace(solution, second=solution.second - moved)
    rotation = jnp.zeros_like(vectors)
    return Side(s=along, solution=solution, scales=scales, rotation=rotation), kernel
