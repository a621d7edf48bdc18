"""The law under `grad`, `jit` and `vmap`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import prototypes

from theory import first_order
from theory.corruption.corruptions import Replacement
from theory.kernels.architecture import Architecture


def test_gradients_in_the_level_and_the_variances():
    problem = prototypes((4, 4, 4), n_test=6, d=20, spread=1.0, seed=0)

    def accuracy(p, w_var, b_var):
        arch = Architecture(depth=2, activation="erf", w_var=w_var, b_var=b_var)
        law = first_order(arch, Replacement(p=p), problem)
        return law.per_point(problem.labels_test).mean()

    at = (0.9, 1.3, 0.2)
    found = jax.grad(accuracy, argnums=(0, 1, 2))(*at)
    for k, slope in enumerate(found):
        h = 1e-5
        ends = [
            accuracy(*[value + sign * h * (i == k) for i, value in enumerate(at)])
            for sign in (1, -1)
        ]
        # the cube root of eps: rounding of the quadrature over h, and h squared
        by_difference = float(ends[0] - ends[1]) / (2 * h)
        assert float(slope) == pytest.approx(by_difference, abs=1e-6)
    levels = jnp.asarray([0.8, 0.9, 0.95])
    of_level = lambda p: accuracy(p, 1.3, 0.2)
    each = [float(of_level(p)) for p in levels]
    np.testing.assert_allclose(jax.vmap(of_level)(levels), each, rtol=1e-10)
    np.testing.assert_allclose(jax.jit(of_level)(levels[0]), each[0], rtol=1e-10)
