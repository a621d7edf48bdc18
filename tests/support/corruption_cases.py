"""Noises and corruptions of every kind, and small images to corrupt."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory.corruption.corruptions import (
    Additive,
    BinaryReplacement,
    ClippedAdditive,
    Replacement,
)
from theory.corruption.noises import (
    Bernoulli,
    CustomNoise,
    Laplace,
    Normal,
    NormalMixture,
    Rademacher,
    Uniform,
)

UNIT = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
SAMPLES = 20_000  # with fewer the squares of skew noise are far from Gaussian
KEY = jax.random.key(7)
# Small images have one shape: op by op, laws share what is compiled for it.
SHAPE = (4, 30)
GREY = jnp.asarray(np.random.default_rng(1).random(SHAPE).astype(np.float32))
EPS = float(np.finfo(float).eps)
EPS32 = float(np.finfo(np.float32).eps)
ROUNDING = 64 * EPS  # of some ten operations on numbers of size one


def exponential(key, shape):
    return jax.random.exponential(key, shape, jnp.float32) - jnp.float32(0.7)


# z = e - .7 with e exponential, E e^k = k!, expanded by the binomial formula
def skew_moment(k):
    """E (e - .7)^k by the binomial formula, from E e^i = i!."""
    return sum(
        math.comb(k, i) * math.factorial(i) * (-0.7) ** (k - i) for i in range(k + 1)
    )


SKEW = CustomNoise(
    sampler=exponential,
    moments=(skew_moment(1), skew_moment(2), skew_moment(3), skew_moment(4)),
)
NOISES = {
    "uniform": Uniform(-(3**0.5), 3**0.5),
    "uniform_off_centre": Uniform(0.2, 0.9),
    "normal": Normal(),
    "normal_off_centre": Normal(0.4, 0.3),
    "laplace": Laplace(-0.2, 0.5),
    "mixture": NormalMixture(0.2, 1.5, 0.4),
    "bernoulli": Bernoulli(0.3),
    "rademacher": Rademacher(0.8),
    "custom": SKEW,
}
CORRUPTIONS = {
    f"{kind.__name__}-{name}": lambda p, kind=kind, noise=noise: kind(p=p, noise=noise)
    for kind in (Replacement, Additive)
    for name, noise in NOISES.items()
} | {
    "BinaryReplacement": BinaryReplacement,
    "ClippedAdditive": lambda p: ClippedAdditive(sigma=2 * p),
}
corruptions = pytest.mark.parametrize("make", CORRUPTIONS.values(), ids=CORRUPTIONS)


def tiled(row, dtype=np.float64, times=None):
    """Small images made of copies of one row, of a length that divides theirs."""
    times = times or (SHAPE[0], SHAPE[1] // len(row))
    return jnp.asarray(np.tile(np.asarray(row, dtype), times))
