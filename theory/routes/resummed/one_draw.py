"""One draw of some training images: what the law of a width has no equivalent for.

How unequal the units of hidden layers are, how the kernels hang together, and what is
of order 1/width: docs/theory/finite_width.md (W1), (W5), (W8).
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.corruption.base import Corruption
from theory.corruption.copies import corrupt_problem, corrupt_test
from theory.kernels import hidden_layers
from theory.kernels.architecture import Architecture
from theory.kernels.hidden_layers import Couplings
from theory.keys import stream
from theory.linearised.landmarks import sample
from theory.numerics import blocks
from theory.problem import Problem
from theory.records import record
from theory.regression import finite_width
from theory.routes import of_width

# Training images of the draw, and test points per block.
_MOST, _BLOCK = 1000, 256


@record(kw_only=True)
class Draw:
    """One corruption draw of some training images, at infinite width.

    Attributes:
        seen: the images, and the test points as they are seen.
        coupled: how their kernels follow the hidden layers.
        spread: h Q h of samples of units of every hidden layer, over its mean.
        ridge: added to the diagonal of the kernel.
        width: units of every hidden layer.
    """

    seen: Problem
    coupled: Couplings
    spread: Float[Array, "l m"]
    ridge: Float[Array, ""]
    width: Float[Array, ""]


def _key() -> Array:
    return stream(jax.random.key(0), "width")


def seen(
    test_corruption: Corruption | None, x_test: Float[Array, "t d"]
) -> Float[Array, "t d"]:
    """Returns the test points of the draw."""
    return corrupt_test(test_corruption, _key(), 0, x_test)


@jax.jit
def _look(arch: Architecture, seen: Problem, ridge, width, ratio) -> Draw:
    """Of networks of `width` units, and for the spread with as many rows per unit."""
    x, y = seen.x_train, seen.y
    both, own = hidden_layers.of_points(x, arch), hidden_layers.diagonal(x, arch)
    coupled = hidden_layers.couplings(arch, own, both)
    units = of_width.units_of(arch, coupled, both, ridge)
    solved, _ = finite_width.solve_shares(units, y, len(x) / ratio)
    return Draw(
        seen=seen,
        coupled=coupled,
        spread=finite_width.traces(units, solved.shares)[0].spread,
        ridge=ridge,
        width=width,
    )


def look(
    arch: Architecture,
    corruption: Corruption,
    problem: Problem,
    *,
    width: int,
    ridge: float,
    copies: int,
) -> Draw:
    """Returns one draw of the training images, or of a thousand of them."""
    x = problem.x_train
    rows = sample(len(x), max(_MOST // copies, 1))
    some = dataclasses.replace(
        problem, x_train=x[rows], labels_train=problem.labels_train[rows]
    )
    seen = corrupt_problem(corruption, some, _key(), 0, copies=copies)
    of = lambda value: jnp.asarray(value, x.dtype)
    return _look(arch, seen, of(ridge), of(width), of(len(x) * copies / width))


@jax.jit
def remaining(
    arch: Architecture, draw: Draw, x_test: Float[Array, "t d"]
) -> Float[Array, " t"]:
    """Returns the variance of order 1/width at test points, (W8), from the draw."""
    x = draw.seen.x_train
    both, own = hidden_layers.of_points(x, arch), hidden_layers.diagonal(x, arch)
    left = of_width.remainder(arch, both, own, draw.seen.y, draw.ridge, draw.width)

    def block(x_test):
        rows = hidden_layers.between(x_test, x, arch)
        alone = hidden_layers.diagonal(x_test, arch)
        return of_width.remaining(arch, left, rows, alone, own)

    return blocks.map_rows(block, x_test, _BLOCK)
