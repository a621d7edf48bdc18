"""The loop over corruption draws, which exact routes share, and its checks."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, UInt

from theory.corruption.base import Corruption
from theory.corruption.copies import corrupt_problem
from theory.errors import check_count
from theory.kernels.architecture import Architecture
from theory.keys import draw_key
from theory.numerics import memory
from theory.problem import Problem
from theory.routes import checks

# Test points per block. Triangular solves of 1024 columns take .8 of the time of twice
# 512 (n = 4000, two cores); 2048 gain little more and hold twice the memory.
BLOCK = 1024

Progress = Callable[[int, int], None]

_seen = jax.jit(corrupt_problem, static_argnames="copies")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorruptionDraws:
    """The draws that an exact route goes through; fields as in `theory.exact`."""

    corruption: Corruption
    problem: Problem
    key: Array
    draws: int
    first_draw: int
    copies: int
    test_corruption: Corruption | None

    def check(self, arch: Architecture, ridge: float = 0.0) -> None:
        """Raises `InputError` on arguments that make no sense. Host only."""
        checks.check_inputs(
            arch,
            self.corruption,
            self.problem,
            draws=self.draws,
            copies=self.copies,
            test_corruption=self.test_corruption,
            ridge=ridge,
        )
        check_count("first_draw", self.first_draw, least=0)
        problem = self.problem
        memory.check_memory(
            self.draws * problem.x_test.shape[0] * problem.num_classes * 8,
            f"the outputs of {self.draws} draws",
            "ask for fewer at a time, by `first_draw`",
        )

    def check_memory(self, *, matrices: int) -> None:
        """Raises `InputError` if so many kernels of all training images do not fit."""
        x, copies = self.problem.x_train, self.copies
        n = copies * x.shape[0]
        of_which = f", {copies} copies each," if copies > 1 else ""
        memory.check_memory(
            matrices * n**2 * x.dtype.itemsize,
            f"the exact kernel of {x.shape[0]} training images{of_which} in {x.dtype}",
            "use a smaller n_train, float32 (half of it), or theory.exact_iterative",
        )

    def seen(self, k: int) -> Problem:
        """Returns what a network of draw k is trained on and asked."""
        return _seen(
            self.corruption,
            self.problem,
            self.key,
            k,
            copies=self.copies,
            test_corruption=self.test_corruption,
        )

    def each(
        self, one: Callable[[int], PyTree], progress: Progress | None = None
    ) -> tuple[Any, UInt[Array, "draw 2"]]:
        """Returns what `one` gives for each draw, stacked, and the draws' raw keys.

        One draw at a time: each fills the memory, and every core, by itself.
        """
        numbers, results = range(self.first_draw, self.first_draw + self.draws), []
        for k in numbers:
            results.append(one(k))
            if progress is not None:
                progress(len(results), self.draws)
        keys = [jax.random.key_data(draw_key(self.key, k)) for k in numbers]
        return jax.tree.map(lambda *parts: jnp.stack(parts), *results), jnp.stack(keys)
