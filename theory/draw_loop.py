"""The loop over corruption draws, which exact routes share, and its checks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, UInt

from theory import blocks, propagation
from theory.corrupted import check_options, draw_key
from theory.corruption import Corruption
from theory.errors import InputError, NumericalError
from theory.problem import Architecture, Problem

# Test points per block. Triangular solves of 1024 columns take .8 of the time of twice
# 512 (n = 4000, two cores); 2048 gain little more and hold twice the memory.
BLOCK = 1024
# Largest relative truncation error of a quadrature dual that is let pass.
_TRUNCATION = 1e-5

Progress = Callable[[int, int], None]


def check_inputs(
    arch: Architecture,
    noise: Corruption,
    problem: Problem,
    *,
    draws: int,
    copies: int,
    test_corruption: Corruption | None,
) -> None:
    """Raises `InputError` on arguments that make no sense. Host only."""
    problem.check()
    arch.check()
    propagation.check_ntk(arch)
    check_options(noise, problem, copies=copies, test_corruption=test_corruption)
    if draws < 1:
        raise InputError(f"`draws` must be at least 1, got {draws}.")


def check_ridge(ridge: float) -> None:
    """Raises `InputError` on a ridge that makes no sense. Host only."""
    if not 0 <= ridge < float("inf"):
        raise InputError(f"`ridge` must be finite and not negative, got {ridge}.")


def check_memory(problem: Problem, *, copies: int, matrices: int) -> None:
    """Raises `InputError` if so many kernels of all training images do not fit."""
    x = problem.x_train
    n = copies * x.shape[0]
    of_which = f", {copies} copies each," if copies > 1 else ""
    blocks.check_memory(
        matrices * n**2 * x.dtype.itemsize,
        f"the exact kernel of {x.shape[0]} training images{of_which} in {x.dtype}",
        "use a smaller n_train, float32 (half of it), or theory.exact_iterative",
    )


def truncation_error(arch: Architecture, problem: Problem) -> Array:
    """Returns the largest relative truncation error of the dual at the images."""
    return jnp.maximum(
        propagation.truncation_error(problem.x_train, arch),
        propagation.truncation_error(problem.x_test, arch),
    )


def check_truncation(arch: Architecture, error: float) -> None:
    """Raises `NumericalError` if `error` is too large to be let pass. Host only."""
    if not error < _TRUNCATION:
        raise NumericalError(
            f"the dual of {arch.phi.name} is truncated with relative error "
            f"{error:.1g}: raise `terms` of theory.activations.custom."
        )


def over_draws(
    one: Callable[[int], PyTree],
    *,
    key: Array,
    draws: int,
    first_draw: int,
    progress: Progress | None,
) -> tuple[Any, UInt[Array, "draw 2"]]:
    """Returns what `one` gives for each draw, stacked, and the raw keys of the draws.

    One draw at a time: each fills the memory, and every core, by itself.
    """
    results = []
    for k in range(first_draw, first_draw + draws):
        results.append(one(k))
        if progress is not None:
            progress(len(results), draws)
    keys = [
        jax.random.key_data(draw_key(key, k))
        for k in range(first_draw, first_draw + draws)
    ]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *results), jnp.stack(keys)
