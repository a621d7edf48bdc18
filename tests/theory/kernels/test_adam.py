"""Rates of Adam: gradients of wide networks at their start, and how they scale."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

import theory
from ntk_corrupt.networks import mlp

N, D, C, WIDTH, BATCH = 12, 9, 3, 400, 5
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((N, D)))
Y = jnp.asarray(np.eye(C)[np.arange(N) % C])
ARCH = theory.Architecture(depth=3, activation="erf", w_var=1.3, b_var=0.2)


def rates(arch=ARCH, width=WIDTH, **settings: Any):
    widths = (D, *[width] * (arch.depth - 1))
    asked: dict[str, Any] = {"batch_size": BATCH} | settings
    return theory.adam_rates(arch, widths, X, Y, **asked)


def mean_squares(arch, count):
    """Mean squares of gradients of networks at their start, by layer and parameter."""
    model = mlp.mlp(arch, WIDTH, C)

    def one(key):
        init, order = jax.random.split(key)
        params = model.init(init, X)
        batch = jax.random.permutation(order, N)[:BATCH]
        outputs: Any = lambda params: model.apply(params, X[batch])
        loss = lambda params: ((outputs(params) - Y[batch]) ** 2).mean()
        return jax.tree.map(lambda g: (g**2).mean(), jax.grad(loss)(params))["params"]

    keys = jax.random.split(jax.random.key(0), count)
    return jax.jit(lambda keys: jax.lax.map(one, keys))(keys)


@pytest.mark.parametrize(
    "activation", ["erf", pytest.param("relu", marks=pytest.mark.slow)]
)
def test_gradients_at_the_start(activation):
    arch = dataclasses.replace(ARCH, activation=activation)
    found, count = rates(arch), 300
    measured = mean_squares(arch, count)
    fan_in = (D, WIDTH, WIDTH)
    for at in range(3):
        layer = measured[f"layer_{at + 1}"]
        for name, value in (
            ("kernel", fan_in[at] / 1.3 / found.w_rates[at]),
            ("bias", 1 / found.b_rates[at]),
        ):
            squares = np.asarray(layer[name])
            error = squares.std() / count**0.5
            # width 400: of relative order 1/width, and of its depth
            assert abs(squares.mean() - value**2) < 4 * error + 0.02 * value**2


def test_hidden_layers_are_faster_than_the_readout_by_the_root_of_the_width():
    one, four = rates(width=100), rates(width=400)

    def moves(found, width):
        """Rates per parameter: what its gradient is divided by, inverted."""
        return np.array(found.w_rates) / (D, width, width)

    ratio = moves(one, 100)[1] / moves(one, 100)[2]
    assert moves(four, 400)[1] / moves(four, 400)[2] == pytest.approx(2 * ratio)


def test_all_points_in_one_batch():
    whole = rates(batch_size=N)
    assert whole.w_rates == rates(batch_size=10 * N).w_rates
    # noise of batches makes gradients larger, and Adam slower
    assert all(a > b for a, b in zip(whole.w_rates, rates().w_rates, strict=True))


def test_without_biases():
    arch = dataclasses.replace(ARCH, b_var=0.0)
    found = rates(arch, biases=False)
    assert found.b_rates == (0.0,) * 3
    assert found.w_rates == rates(arch).w_rates
    found.check()


def test_refusals():
    for settings, text in (
        ({"widths": (D, 4)}, "`widths` must have one entry per weight layer, 3"),
        ({"widths": (D, 0, 4)}, "`widths` must be an integer of at least 1"),
        ({"y": Y[:5]}, "`y` must be an array (n, c) with n = 12"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
    ):
        given: dict[str, Any] = {"widths": (D, 4, 4), "x": X, "y": Y, "batch_size": 3}
        given |= settings
        with raises(text):
            theory.adam_rates(ARCH, **given)
    step = theory.Architecture(depth=2, activation="step")
    with raises("step has no NTK"):
        theory.adam_rates(step, (D, 4), X, Y, batch_size=3)
