"""The resummed law of networks of finite width near their start.

The mean kernel is that of infinite width less a share of the covariances of hidden
units, layer by layer. The shares follow from traces of the resolvent over the noise of
the training images, and those are derivatives of the mean logarithm of the determinant.

Equations: docs/theory/finite_width.md (W1)-(W10).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.kernels.hidden_layers import Couplings
from theory.linearised import linearise
from theory.linearised.landmarks import Landmarks
from theory.linearised.layered import by_layers
from theory.linearised.training_kernel import measure
from theory.numerics import memory
from theory.regression import determinant, finite_width
from theory.routes import of_width
from theory.routes.resummed.one_draw import Draw
from theory.routes.resummed.solved import (
    Direction,
    Setting,
    Shared,
    Side,
    direction,
    solve_side,
)


def by_hidden_layers(arch: Architecture, reduced: Landmarks) -> Landmarks:
    """Returns the same with the kernels of all first layers measured, (W10).

    Raises:
        InputError: if their entries do not fit the memory.
    """
    train, columns = reduced.measured.train, reduced.measured.columns
    n, dtype = len(train.q), train.q.dtype
    memory.check_memory(
        (2 * arch.depth + 6) * n * len(columns) * dtype.itemsize,
        f"the mean kernels of {arch.depth} layers, {n} training images with "
        f"{len(columns)} of them",
        "use a smaller n_train or `landmarks`, or float32",
    )
    measured = by_layers(lambda part: measure(part, train, columns), arch)
    return reduced._replace(measured=measured)


def _along(coupled: Couplings, b_var) -> Float[Array, "k k"]:
    """Weights of (W2)'s parts, and of a constant, in the kernels of `by_layers`."""
    layers = len(coupled.passed)
    weights = jnp.eye(layers + 1, dtype=coupled.passed.dtype)
    for at in range(1, layers):
        weights = weights.at[at, at - 1].set(-coupled.passed[at])
    # C_l is K_{l + 1} without the biases' constant
    return weights.at[:-1, -1].set(-b_var * weights[:-1, :-1].sum(axis=1))


@jax.jit
def _traces(setting: Setting, side: Side, along):
    """Traces of the resolvent with the parts, (W9): tau and omega are held."""
    arch, measured, basis, y, ridge, copies = setting

    def logarithm(moved):
        s = side.s + moved @ along
        rows, scales = linearise.rows(
            arch, measured, y, basis, s=s, ridge=ridge, copies=copies
        )
        solution, scaled = side.solution, 2 * copies * jnp.log(scales.row).sum()
        found = determinant.log_determinant(rows, solution.tau, solution.omega)
        return found + scaled

    return jax.grad(logarithm)(jnp.zeros_like(along[:, 0]))


def _slopes(centre: Side, directions: list[Direction], of: Callable[[Side], Array]):
    """Derivatives of something along every direction, as a last axis."""
    return jnp.stack([each.of(of, centre) for each in directions], axis=-1)


def share(setting: Setting, draw: Draw) -> tuple[Side, tuple[Direction, ...], Shared]:
    """Solves for the shares of the layers, (W3)-(W4), with the traces (W9).

    The derivatives of the traces are those of the first step until the last: some more
    steps, each of one regression.

    Args:
        setting: what is trained, measured by `by_hidden_layers`.
        draw: what was looked at in one draw.

    Returns:
        The solved regression, its directions, and how the shares answer.

    Raises:
        NumericalError: where the shares are not found.
    """
    coupled, width, layers = draw.coupled, draw.width, len(draw.coupled.passed)
    dtype, b_var = setting.y.dtype, setting.arch.b_var
    constant = jnp.asarray(b_var, dtype)
    along = _along(coupled, constant)[: layers + bool(b_var)]
    traces = lambda side: _traces(setting, side, along)

    def around(centre: Side) -> tuple[list[Direction], Array]:
        found = [direction(setting, centre, each, constant) for each in along]
        return found, -_slopes(centre, found, traces)[:layers]

    infinite = shares = finite_width.infinite(coupled)
    size, steps = jnp.asarray(jnp.inf, dtype), 0
    centre = double = None
    while True:
        centre = solve_side(setting, (shares - infinite) @ along[:layers], near=centre)
        single, going_on = traces(centre)[:layers], finite_width.unfinished(size, steps)
        if double is None or not going_on:
            directions, double = around(centre)
        found = finite_width.Traces(single, double[:, :layers], draw.spread)
        if not going_on:
            break
        shares, size = finite_width.newton_step(coupled, shares, found, width)
        steps += 1
    of_width.check_residual(size, int(width))
    pairs = -_slopes(centre, directions, _products)
    moved = (
        constant * double[:, layers:].sum(axis=1),
        jnp.moveaxis(pairs, -1, 0)[:layers],
    )
    by_start, by_targets = finite_width.responses(coupled, shares, found, width, moved)
    weights = jnp.append(by_start, constant)
    directions = tuple(
        dataclasses.replace(each, weight=weight)
        for each, weight in zip(directions, weights, strict=False)
    )
    return centre, directions, Shared(draw=draw, by_targets=by_targets, residual=size)


def _products(side: Side) -> Float[Array, "c c"]:
    """y^T Q y, of the targets of one class with those of another."""
    return side.solution.rows.y.T @ side.solution.y_rows
