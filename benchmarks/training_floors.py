"""What a training step cannot do without, and nothing else: floors for ensembles."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ntk_corrupt.training.config import TrainConfig

KEY = jax.random.key(0)
Side = Callable[[], Any]
Shapes = list[tuple[int, int]]  # (fan-in, fan-out) of each layer


def forward_flop(shapes: Shapes, points: int) -> int:
    """Returns the operations of the products of a forward pass."""
    return sum(2 * points * fan_in * fan_out for fan_in, fan_out in shapes)


def step_flop(shapes: Shapes, batch: int) -> int:
    """Returns the operations of the products of a training step."""
    return 3 * forward_flop(shapes, batch) - forward_flop(shapes[:1], batch)


def step_products(
    shapes: Shapes, batch: int, members: int, config: TrainConfig
) -> Side:
    """Returns the products of a step of several members, and nothing else."""

    keys = iter(jax.random.split(KEY, 3 * len(shapes)))
    normal = lambda *shape: jax.random.normal(next(keys), (members, *shape), "float32")
    operands = [(normal(batch, i), normal(o, i), normal(batch, o)) for i, o in shapes]

    @jax.jit
    def products(layers):
        results = []
        with config.matrix_products():
            for number, (inputs, weights, gradients) in enumerate(layers):
                results.append(jnp.einsum("mni,moi->mno", inputs, weights))
                results.append(jnp.einsum("mno,mni->moi", gradients, inputs))
                if number > 0:
                    results.append(jnp.einsum("mno,moi->mni", gradients, weights))
        return results

    return functools.partial(products, operands)


def square_product(n: int, config: TrainConfig) -> Side:
    """Returns a product of two n x n matrices."""

    @jax.jit
    def product(a):
        with config.matrix_products():
            return a @ a

    return functools.partial(product, jax.random.normal(KEY, (n, n), jnp.float32))


def one_pass(floats: int) -> Side:
    """Returns a pass in place over an array: each number is read and written."""
    add = jax.jit(lambda array: array + 1, donate_argnums=0)
    held = jnp.zeros(floats, jnp.float32)

    def run():
        nonlocal held
        held = add(held)
        return held

    return run
