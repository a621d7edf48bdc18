"""Chebyshev nodes that functions are interpolated at, and how many are enough."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def at(count: int) -> np.ndarray:
    """Returns the Chebyshev points of the first kind on [-1, 1]."""
    return np.cos((np.arange(count) + 0.5) * math.pi / count)


def to_powers(count: int, kept: int) -> np.ndarray:
    """Takes values at `count` points to coefficients of the first `kept` powers."""
    nodes = np.polynomial.chebyshev.chebvander(at(count), count - 1)
    powers = [np.polynomial.chebyshev.cheb2poly(row) for row in np.eye(kept)]
    padded = np.array([np.pad(row, (0, kept - len(row))) for row in powers])
    return padded.T @ np.linalg.inv(nodes)[:kept]


def range_of(values: Array) -> tuple[float, float]:
    """Returns the middle and the half width of an interval that holds the values."""
    lowest, highest = float(values.min()), float(values.max())
    return (lowest + highest) / 2, (highest - lowest) / 2


def within(interval: tuple[float, float], count: int, dtype) -> Array:
    """Returns the points on an interval, given as `range_of` does."""
    return jnp.asarray(interval[0] + interval[1] * at(count), dtype)


def enough(tail: np.ndarray, tried: tuple[int, ...], allowed: float) -> int | None:
    """Returns the fewest that leave coefficients below what is allowed, if any."""
    beyond = lambda count: tail[count:].max()
    return next((count for count in tried if beyond(count) <= allowed), None)
