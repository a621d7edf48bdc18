"""The convolutional network against the compiler's own convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import raises

from ntk_corrupt import cnn, models

SIDE, N = 9, 4
X = jax.random.normal(jax.random.key(0), (N, SIDE**2), jnp.float32)


def test_is_a_convolutional_network():
    net = cnn.cnn(SIDE, 3, channels=(5, 4), dense=6, activation="tanh", b_var=0.2)
    params = net.init(jax.random.key(1), X)["params"]
    y = X.reshape(N, SIDE, SIDE, 1)
    for name, channels in (("conv_1", 5), ("conv_2", 4)):
        weights = params[name]["kernel"].reshape(channels, 3, 3, -1)
        y = jax.lax.conv_general_dilated(
            y,
            weights.transpose(1, 2, 3, 0),
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        y = jnp.tanh(y + params[name]["bias"].reshape(1, 1, 1, -1))
        y = jax.lax.reduce_window(
            y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
        )
    y = y.reshape(N, -1)
    y = jnp.tanh(y @ params["dense"]["kernel"].T + params["dense"]["bias"])
    y = y @ params["logits"]["kernel"].T + params["logits"]["bias"]
    found = np.asarray(net.apply({"params": params}, X))
    np.testing.assert_allclose(found, y, atol=1e-5)
    assert y.shape == (N, 3)


def test_all_weights_are_those_of_layers():
    net = cnn.cnn(SIDE, 3)
    params = net.init(jax.random.key(1), X)
    _, taps = models.tapped(net, params, X)
    assert [tap.name[0] for tap in taps] == ["conv_1", "conv_2", "dense", "logits"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"side": 3}, "one for each of at most log2(side) convolutions"),
        ({"channels": ()}, "`channels` must be positive"),
        ({"dense": 0}, "`dense` must be a positive integer, got 0"),
        ({"parametrisation": "mup"}, "unknown parametrisation 'mup'"),
    ],
)
def test_bad_settings_are_refused(settings, text):
    asked: dict = {"side": SIDE, "num_classes": 3, **settings}
    with raises(text):
        cnn.cnn(**asked)
