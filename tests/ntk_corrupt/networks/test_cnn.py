"""The convolutional network against the compiler's own convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

from ntk_corrupt.networks import cnn, layers

SIDE, N = 9, 4
X = jnp.asarray(np.random.default_rng(0).standard_normal((N, SIDE**2)), jnp.float32)


def test_is_a_convolutional_network():
    net = cnn.cnn(SIDE, 3, channels=(5, 4), dense=6, activation="tanh", b_var=0.2)
    params = jax.jit(net.init)(jax.random.key(1), X)["params"]

    @jax.jit
    def expected(params, x):
        y = x.reshape(N, SIDE, SIDE, 1)
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
        return y @ params["logits"]["kernel"].T + params["logits"]["bias"]

    y = np.asarray(expected(params, X))
    found = jax.jit(net.apply)({"params": params}, X)
    # sums of 9, 45, 16 and 6 numbers of order one, one after another
    rounding = (9 + 45 + 16 + 6) * np.finfo(np.float32).eps
    np.testing.assert_allclose(found, y, rtol=0, atol=rounding * np.abs(y).max())
    assert y.shape == (N, 3)


def test_all_weights_are_those_of_layers():
    net = cnn.cnn(SIDE, 3)
    names = []

    def run(key):
        _, taps = layers.tapped(net, net.init(key, X), X)
        names.extend(tap.name[0] for tap in taps)

    jax.eval_shape(run, jax.random.key(1))
    assert names == ["conv_1", "conv_2", "dense", "logits"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"side": 3}, "one for each convolution that leaves a position, got (32, 64)"),
        ({"channels": ()}, "`channels` must be positive"),
        ({"dense": 0}, "`dense` must be an integer of at least 1, got 0"),
        ({"parametrisation": "mup"}, "unknown parametrisation 'mup'"),
        ({"pooling": "first"}, "unknown pooling 'first'"),
        ({"size": 11, "padding": "valid"}, "windows of 11 x 11 do not fit"),
    ],
)
def test_bad_settings_are_refused(settings, text):
    asked: dict = {"side": SIDE, "num_classes": 3, **settings}
    with raises(text):
        cnn.cnn(**asked)


def count(net, pixels):
    params = jax.eval_shape(net.init, jax.random.key(0), jnp.ones((1, pixels)))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_networks_of_the_sources_have_their_weights():
    four = cnn.cnn(
        28, 10, channels=(64, 128), dense=256, padding="valid", pooling="last"
    )
    # 10 64 + (576 + 1) 128 + (12^2 128 + 1) 256 + 257 10: 4.8 million in the source
    assert count(four, 784) == 4_795_914
    lenet = cnn.cnn(28, 10, channels=(6, 16), dense=(120, 84), size=5, padding="valid")
    by_hand = 26 * 6 + 151 * 16 + 257 * 120 + 121 * 84 + 85 * 10
    assert count(lenet, 784) == by_hand
