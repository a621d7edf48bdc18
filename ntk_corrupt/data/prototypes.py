"""Synthetic classes: one Gaussian prototype each, plus Gaussian noise.

x = m_i + noise_std * g with m_i ~ N(0, I_d) fixed per class and g ~ N(0, I_d) fresh per
image. Nearest-class-mean is the Bayes rule here. Its errors come from single pairs of
classes, each with probability about Phi(-sqrt(d/2) / noise_std).
"""

import math
import zlib
from typing import Any

import numpy as np

from ntk_corrupt.data import normalise as normalisations
from ntk_corrupt.data.pool import Pool
from ntk_corrupt.data.subsets import check_integer
from theory.errors import InputError
from theory.numerics import memory
from theory.numerics.signatures import checked
from theory.problem import Problem


@checked
def gaussian_prototypes(
    *,
    num_classes: int = 10,
    n_train: int = 2000,
    n_test: int = 1000,
    d: int = 64,
    noise_std: float = 3.0,
    normalise: str = "standardise",
    seed: int = 0,
) -> Problem:
    """A balanced synthetic problem.

    Args:
        num_classes: number of prototypes, >= 2.
        n_train: training points to draw, >= num_classes.
        n_test: test points to draw, >= 1.
        d: inputs per point, >= 1; >= 3 to be `standardise`d to any use.
        noise_std: standard deviation of the noise, in units of the prototypes' entries.
        normalise: "standardise" or "none": the values are not pixels in [0, 1].
        seed: of prototypes, noise and labels, >= 0.

    Returns:
        The problem; class counts differ by at most one, in random order.

    Raises:
        InputError: an argument is out of its range.
    """
    normalisations.get(normalise)
    pool = draw_pool(
        num_classes=num_classes,
        n_train=n_train,
        n_test=n_test,
        d=d,
        noise_std=noise_std,
        seed=seed,
    )
    return pool.problem(
        n_train=None,
        n_test=None,
        normalise=normalise,
        seed=seed,
        test_seed=seed,
        size=None,
        classes=None,
    )


def draw_pool(
    *,
    num_classes: int = 10,
    n_train: int = 6000,
    n_test: int = 2000,
    d: int = 64,
    noise_std: float = 3.0,
    seed: int = 0,
) -> Pool:
    """Draws prototypes and points; arguments as in `gaussian_prototypes`."""
    check_integer("seed", seed, minimum=0)
    check_integer("num_classes", num_classes, minimum=2)
    check_integer("n_train", n_train, minimum=num_classes)
    check_integer("n_test", n_test, minimum=1)
    check_integer("d", d, minimum=1)
    if not 0 <= noise_std < math.inf:
        raise InputError(
            f"`noise_std` must be finite and not negative, got {noise_std}."
        )
    memory.check_memory(
        16 * (n_train + n_test + num_classes) * d,
        "the points",
        "use fewer, smaller `d`",
    )
    prototypes = _generator(seed, "prototypes").normal(size=(num_classes, d))
    arrays: dict[str, Any] = {}
    for part, n in (("train", n_train), ("test", n_test)):
        rng = _generator(seed, part)
        labels = rng.permutation(np.arange(n) % num_classes)
        noise = noise_std * rng.normal(size=(n, d))
        arrays |= {f"images_{part}": prototypes[labels] + noise}
        arrays |= {f"labels_{part}": labels}
    return Pool(**arrays, num_classes=num_classes, scale=1.0)


def _generator(seed: int, stream: str) -> np.random.Generator:
    key = (zlib.crc32(f"gaussian_prototypes/{stream}".encode()),)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
