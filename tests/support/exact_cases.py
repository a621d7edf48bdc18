"""One problem of the exact route, and its outputs in plain NumPy."""

import jax
import numpy as np
import scipy.linalg
from problems import erf_kernels, prototypes

from theory import exact
from theory.corruption.copies import corrupt
from theory.corruption.corruptions import Replacement
from theory.corruption.noises import Rademacher
from theory.kernels.architecture import Architecture

# One shape and one depth in most tests: one compilation.
PROBLEM = prototypes((6, 5, 3, 2))
ERF = Architecture(depth=3, activation="erf", w_var=1.3, b_var=0.1)
# A sign is exact in float32; products and sums round as the compiler fuses them.
SIGNS = Rademacher()
NOISE = Replacement(p=0.6, noise=SIGNS)
KEY = jax.random.key(4)
COPIES = 3
# n eps = 3.6e-15 of solves of numbers of order one; conditions are below 1e3.
SOLVED = 1e-11


def settings(arch):
    """Keyword arguments of `erf_kernels`."""
    return {
        name: getattr(arch, name)
        for name in ("depth", "w_var", "b_var", "w_rates", "b_rates")
    }


def smoother(ntk, ridge=0.0, time=None):
    """P of docs/theory/training.md (8), without Cholesky and without eigenvalues."""
    n = len(ntk)
    if time is None:
        return np.linalg.inv(ntk + ridge * np.eye(n))
    # d/dt W = 1 - Theta W from W = 0
    flow = scipy.linalg.expm(
        time * np.block([[-ntk, np.eye(n)], [np.zeros((n, 2 * n))]])
    )
    return flow[:n, n:]


def by_hand(arch, x, problem, **kwargs):
    """Outputs and init_var of the corrupted training images `x`."""
    x_test, settled = problem.x_test, settings(arch)
    nngp, ntk = erf_kernels(x, x, **settled)
    nngp_test, ntk_test = erf_kernels(x_test, x, **settled)
    prior = np.diagonal(erf_kernels(x_test, x_test, **settled)[0])
    rows = ntk_test @ smoother(ntk, **kwargs)
    init_var = (
        prior
        - 2 * (rows * nngp_test).sum(axis=1)
        + np.einsum("na,ab,nb->n", rows, nngp, rows)
    )
    return rows @ np.asarray(problem.y), init_var


def check_by_hand(arch, noise, problem, **kwargs):
    draws = exact(arch, noise, problem, draws=2, key=KEY, **kwargs)
    assert draws.outputs.shape == (2, 1, *problem.x_test.shape[:1], 4)
    for k in range(2):
        x = corrupt(noise, KEY, k, problem.x_train)
        outputs, init_var = by_hand(arch, x, problem, **kwargs)
        close(np.asarray(draws.outputs)[k, 0], outputs)
        close(known(draws.init_var)[k], init_var)
    return draws


def close(actual, expected):
    """Up to the rounding of a solve."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=SOLVED)


def known(array):
    assert array is not None
    return np.asarray(array)
