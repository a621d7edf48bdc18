"""The loop over corruption draws, which exact routes share, and its checks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, UInt

from theory.keys import draw_key
from theory.numerics import memory
from theory.problem import Problem

# Test points per block. Triangular solves of 1024 columns take .8 of the time of twice
# 512 (n = 4000, two cores); 2048 gain little more and hold twice the memory.
BLOCK = 1024

Progress = Callable[[int, int], None]


def check_memory(problem: Problem, *, copies: int, matrices: int) -> None:
    """Raises `InputError` if so many kernels of all training images do not fit."""
    x = problem.x_train
    n = copies * x.shape[0]
    of_which = f", {copies} copies each," if copies > 1 else ""
    memory.check_memory(
        matrices * n**2 * x.dtype.itemsize,
        f"the exact kernel of {x.shape[0]} training images{of_which} in {x.dtype}",
        "use a smaller n_train, float32 (half of it), or theory.exact_iterative",
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
