"""Windows as rows of numbers against the compiler's own convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_corrupt.networks.patches import patches
from theory.architectures import Convolution

X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 5, 3)))


@pytest.mark.parametrize("padding", ["same", "valid", "circular"])
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (2, 1), (3, 2), (2, 3), (5, 1)])
def test_their_products_are_convolutions(padding, size, stride):
    window = Convolution(size=size, stride=stride, padding=padding)
    weights = np.random.default_rng(1).standard_normal((size, size, 3, 4))
    x = np.asarray(X)
    if padding == "circular":
        around = window.pads(x.shape[1:3])
        x = np.pad(x, ((0, 0), *around, (0, 0)), mode="wrap")
    expected = jax.lax.conv_general_dilated(
        jnp.asarray(x),
        jnp.asarray(weights),
        (stride, stride),
        "SAME" if padding == "same" else "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    found = np.asarray(patches(X, window)) @ weights.reshape(-1, 4)
    # sums of up to 75 products of order one
    np.testing.assert_allclose(found, expected, rtol=0, atol=75 * 8 * 2.0**-52)
