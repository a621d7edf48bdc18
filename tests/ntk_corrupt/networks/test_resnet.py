"""The residual network against its blocks written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

from ntk_corrupt import models
from ntk_corrupt.networks import resnet

SHAPE, N, CHANNELS = (4, 4, 3), 3, 5
X = jnp.asarray(np.random.default_rng(0).standard_normal((N, 48)), jnp.float32)


def test_is_a_residual_network():
    net = resnet.resnet(SHAPE, 2, blocks=(1, 1), channels=CHANNELS)
    params = jax.jit(net.init)(jax.random.key(1), X)["params"]
    layers = iter(params[f"layer_{k}"] for k in range(1, 8))

    def convolved(y, stride=1):
        layer = next(layers)
        weights = layer["kernel"].reshape(CHANNELS, 3, 3, -1).transpose(1, 2, 3, 0)
        y = jax.lax.conv_general_dilated(
            y, weights, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO",
                                                                     "NHWC")
        )  # fmt: skip
        return y + layer["bias"].reshape(1, 1, 1, -1)

    phi = jax.nn.relu
    y = convolved(X.reshape(N, *SHAPE))
    y = y + convolved(phi(convolved(phi(y))))
    y = convolved(phi(y), stride=2)
    y = y + convolved(phi(convolved(phi(y))))
    y = phi(y).mean(axis=(1, 2))
    last = next(layers)
    y = y @ last["kernel"].T + last["bias"]
    found = jax.jit(net.apply)({"params": params}, X)
    # seven layers of sums of at most 45 numbers
    atol = 7 * 45 * float(np.finfo(np.float32).eps) * float(jnp.abs(y).max())
    np.testing.assert_allclose(found, y, rtol=0, atol=atol)
    assert models.resnet is resnet.resnet


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"blocks": ()}, "`blocks` must be positive, one at least, got ()"),
        ({"blocks": (1, 1, 1, 1)}, "`blocks` must be at most 3 stages"),
        ({"channels": 0}, "`channels` must be an integer of at least 1, got 0"),
    ],
)
def test_bad_settings(settings, text):
    with raises(text):
        resnet.resnet(SHAPE, 2, **settings)
