"""The error of kernels whose dual is a truncated series."""

import jax
import jax.numpy as jnp
import numpy as np
from kernel_cases import EPS, ROWS, Z

from theory.activations import registry
from theory.kernels import truncation
from theory.kernels.architecture import Architecture


def test_truncation_error():
    truncation_error = jax.jit(truncation.truncation_error)
    for name in ("relu", "gelu"):
        arch = Architecture(depth=4, activation=name)
        assert truncation_error(Z, arch) == 0
    tanh = registry.get("tanh").dual
    arch = Architecture(depth=3, activation="tanh", w_var=6.0, b_var=0.1)
    q = 0.1 + 6.0 * (ROWS**2).mean(axis=1)
    error = jax.jit(tanh.error)
    layers = q, 0.1 + 6.0 * np.asarray(tanh.diag(jnp.asarray(q)).value)
    expected = np.max([error(layer) for layer in layers])
    found = truncation_error(Z, arch)
    # differences of sums of 256 terms
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=256 * EPS)
    assert 1e-13 < expected < 1e-3
