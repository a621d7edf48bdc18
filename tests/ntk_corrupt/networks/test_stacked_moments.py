"""Networks of a stack at initialisation against its kernels, by Monte Carlo.

What is off at a width is a/width + b/width^2: from two widths the first is measured,
and taken out.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_corrupt.kernels import empirical
from ntk_corrupt.networks import layers, stacked
from theory import architectures
from theory.architectures import AveragePooling, Convolution, Dense, Flatten, Phi

# Networks of each number of channels; the second is four times the first.
NETS = {12: 1200, 48: 600}
C = 32  # their products are averaged
VARIANCES: dict[str, Any] = dict(w_var=1.5, b_var=0.3)
of_shape = functools.partial(
    architectures.convolutional, shape=(6, 4, 2), depth=3, **VARIANCES
)
made_of = functools.partial(architectures.Stack, **VARIANCES)
STACKS = {
    "flat": of_shape(activation="erf"),
    "global": of_shape(activation="relu", pooling="global"),
    "valid, local": made_of(
        layers=(
            *(Convolution(padding="valid"), Phi(), AveragePooling()),
            *(Convolution(size=2), Phi(), Flatten(), Dense()),
        ),
        activation="erf",
        shape=(6, 8, 2),
    ),
    "strides": made_of(
        layers=(
            *(Convolution(stride=2), Phi(), Convolution(size=2), AveragePooling()),
            *(Phi(), Flatten(), Dense(), Phi(), Dense()),
        ),
        activation="erf",
        shape=(7, 8, 3),
    ),
    "residual, around": of_shape(
        activation="erf", residual=True, padding="circular", pooling="global"
    ),
    "local weights": made_of(
        layers=(
            *(Convolution(shared=False), Phi(), AveragePooling()),
            *(Convolution(size=2, shared=False), Phi(), Flatten(), Dense()),
        ),
        activation="erf",
        shape=(4, 4, 1),
    ),
}


def moments(stack, channels, nets, x):
    """Of networks: products of outputs, tangent kernels, each (nets, n, n)."""
    net = stacked.network(stack, channels, C, parametrisation="ntk")
    x = jnp.asarray(x, jnp.float32)
    of_first = jnp.zeros(len(x), int)

    @jax.jit
    @jax.vmap
    def both(params):
        outputs: Any = net.apply(params, x)
        return outputs @ outputs.T / C, empirical.ntk(net, params, x, of_first)

    # not by `init`, which takes longer to compile than all else
    rng = np.random.default_rng(channels)
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    draw = lambda leaf: rng.standard_normal((nets, *leaf.shape), np.float32)
    return [np.asarray(of, float) for of in both(jax.tree.map(draw, shapes))]


def mean_and_error(sample):
    return sample.mean(0), sample.std(0, ddof=1) / len(sample) ** 0.5


# what others of them hold too, weekly: compilation takes seconds
WEEKLY = ("global", "strides", "valid, local")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in WEEKLY))
        for name in STACKS
    ],
)
def test_moments_are_the_kernels(name):
    stack = STACKS[name]
    x = np.random.default_rng(0).normal(size=(3, stack.pixels))
    expected = architectures.gram(x, stack)
    narrow, wide = (moments(stack, *sizes, x) for sizes in NETS.items())
    for number, kind in enumerate(("nngp", "ntk")):
        kernel = np.asarray(getattr(expected, kind))
        (one, one_error), (four, four_error) = (
            mean_and_error(of[number]) for of in (narrow, wide)
        )
        # without 1/width, of widths w and 4 w; left is b/(4 w^2)
        found = (4 * four - one) / 3
        error = np.sqrt((4 * four_error) ** 2 + one_error**2) / 3
        # measured: b below 2 in units of the kernel's scale
        slack = 2 / (4 * 12**2) * np.sqrt(np.outer(*[np.diag(kernel)] * 2))
        assert error.max() < 0.02 * kernel.max()
        assert (np.abs(found - kernel) < 5 * error + slack).all(), kind


@pytest.mark.parametrize("parametrisation", layers.PARAMETRISATIONS)
def test_parameters_at_the_start(parametrisation):
    stack = made_of(
        layers=(Convolution(shared=False), Phi(), Convolution(), Flatten(), Dense()),
        activation="erf",
        shape=(6, 4, 2),
    )
    net = stacked.network(stack, 32, C, parametrisation=parametrisation)
    found = jax.jit(net.init)(jax.random.key(1), jnp.zeros((1, 48)))["params"]
    for number, fan_in in enumerate((9 * 2, 9 * 32, 24 * 32), start=1):
        standard = parametrisation == "standard"
        variances = {"kernel": 1.5 / fan_in, "bias": 0.3}
        for name, leaf in found[f"layer_{number}"].items():
            expected = variances[name] if standard else 1.0
            square = np.asarray(leaf, float) ** 2 / expected
            assert abs(square.mean() - 1) < 5 * (2 / leaf.size) ** 0.5, (number, name)
