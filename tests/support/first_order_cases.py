"""Noises, problems, kernels and networks that tests of first_order share."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import prototypes

from theory.corruption.noises import CustomNoise
from theory.kernels import propagation


def never(key, shape):
    raise AssertionError("the law needs moments only")


POINTS = 98  # where accuracies are computed
# Sums of at most n d = 600 products, of numbers of order one.
ROUNDING = 600 * np.finfo(float).eps

# Raw moments. All noises are CustomNoise here, so that one compilation serves all.
MOMENTS = {
    "uniform": (0.0, 1.0, 0.0, 1.8),  # U(-sqrt 3, sqrt 3)
    "bernoulli": (0.5, 0.5, 0.5, 0.5),
    # an exponential variable less .7: E e^k = k!
    "skew": tuple(
        sum(math.comb(k, i) * math.factorial(i) * (-0.7) ** (k - i) for i in range(5))
        for k in range(1, 5)
    ),
}
NOISES = {
    name: CustomNoise(sampler=never, moments=moments)  # ty: ignore[invalid-argument-type]
    for name, moments in MOMENTS.items()
}
PROBLEMS = {
    "balanced": prototypes((5, 5, 5, 5), d=30),
    "unbalanced": prototypes((9, 2, 3, 6), d=30, seed=1, kind="raw"),
    "missing": prototypes((7, 0, 4, 9), d=30, seed=2, kind="unit"),
}


@jax.jit
def entry(q1, q2, k, arch):
    return propagation.propagate(q1, q2, k, arch).ntk


@jax.jit
def diag(q, arch):
    return propagation.propagate_diag(q, arch).ntk


def mean_first_layer(arch, additive, mu, problem, eps):
    """q, k and k_test of the mean pixels M and their mean squares at level 1 - eps."""
    x, x_test = np.asarray(problem.x_train), np.asarray(problem.x_test)
    mean = eps * x + (1 - eps) * mu[0]
    if additive:
        square = (
            eps**2 * x**2 + 2 * eps * (1 - eps) * x * mu[0] + (1 - eps) ** 2 * mu[1]
        )
    else:
        square = eps * x**2 + (1 - eps) * mu[1]
    q, k, k_test = (
        arch.b_var + arch.w_var * part
        for part in (
            square.mean(axis=1),
            mean @ mean.T / x.shape[1],
            x_test @ mean.T / x.shape[1],
        )
    )
    return map(jnp.asarray, (q, k, k_test))


# Compilation: the law knows of activation and depth what test_slopes.py tests for
# each of them.
QUICK = (("erf", 3), ("relu", 2), ("relu", 5), ("gelu", 2), ("tanh", 3))
networks = pytest.mark.parametrize(
    ("activation", "depth"),
    [
        pytest.param(a, depth, marks=[pytest.mark.slow] * ((a, depth) not in QUICK))
        for a in ("erf", "relu", "gelu", "tanh")
        for depth in (2, 3, 5, 8)
    ],
)
