"""Networks of a stack: their layers, their parameters, what is refused."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

import theory
from ntk_corrupt.networks import layers, mlp, stacked
from theory import architectures
from theory.architectures import (
    AveragePooling,
    Convolution,
    Dense,
    Flatten,
    GlobalAverage,
    Phi,
    Residual,
)
from theory.errors import InputError

SHAPE, C = (6, 4, 2), 3
X = jnp.asarray(np.random.default_rng(0).standard_normal((4, 48)), jnp.float32)
KEY = jax.random.key(1)


def stack_of(*made, b_var=0.2):
    return architectures.Stack(
        layers=made, activation="tanh", shape=SHAPE, w_var=1.5, b_var=b_var
    )


def by_hand(x, params, made, numbers):
    """A network in NumPy, position by position."""
    for layer in made:
        if isinstance(layer, Phi):
            x = np.tanh(x)
        elif isinstance(layer, Flatten):
            x = x.reshape(len(x), -1)
        elif isinstance(layer, GlobalAverage):
            x = x.mean(axis=(1, 2))
        elif isinstance(layer, Residual):
            x = x + by_hand(x, params, layer.layers, numbers)
        elif isinstance(layer, AveragePooling):
            x = sum(x[:, i::2, j::2] for i in range(2) for j in range(2)) / 4
        else:
            own = params[f"layer_{next(numbers)}"]
            kernel, bias = (np.asarray(own[name]) for name in ("kernel", "bias"))
            if isinstance(layer, Dense):
                x = x @ kernel.T + bias
            else:
                x = windows(x, layer, kernel, bias)
    return x


def windows(x, layer, kernel, bias):
    pads = ((0, 0), *layer.pads(x.shape[1:3]), (0, 0))
    padded = np.pad(x, pads, mode="wrap" if layer.padding == "circular" else "constant")
    rows, columns = ((n - layer.size) // layer.stride + 1 for n in padded.shape[1:3])
    out = []
    for number, (i, j) in enumerate(np.ndindex(rows, columns)):
        i, j = i * layer.stride, j * layer.stride
        seen = padded[:, i : i + layer.size, j : j + layer.size].reshape(len(x), -1)
        here = (kernel, bias) if layer.shared else (kernel[number], bias[:, number])
        out.append(seen @ here[0].T + here[1])
    return np.stack(out, axis=1).reshape(len(x), rows, columns, -1)


@pytest.mark.parametrize(
    "made",
    [
        (Convolution(), Phi(), Flatten(), Dense()),
        (
            Convolution(padding="circular"),
            Residual((Phi(), Convolution(), Phi(), Convolution(size=1))),
            AveragePooling(),
            Phi(),
            GlobalAverage(),
            Dense(),
            Phi(),
            Dense(),
        ),
        (
            Convolution(stride=2, shared=False),
            Phi(),
            Convolution(size=2, padding="valid", shared=False),
            Flatten(),
            Dense(),
        ),
    ],
)
def test_layers_are_those_of_the_stack(made):
    net = stacked.network(stack_of(*made), 5, C)
    params = jax.jit(net.init)(KEY, X)
    found = np.asarray(jax.jit(net.apply)(params, X))
    x = np.asarray(X).reshape(-1, *SHAPE)
    expected = by_hand(x, params["params"], made, iter(range(1, 9)))
    # sums of up to 45 numbers in each of five layers
    digits = 5 * 45 * float(np.finfo(np.float32).eps)
    np.testing.assert_allclose(found, expected, rtol=0, atol=digits)


@pytest.mark.parametrize("parametrisation", layers.PARAMETRISATIONS)
def test_dense_stacks_are_perceptrons(parametrisation):
    settings: dict[str, Any] = dict(activation="erf", w_var=1.5, b_var=0.2)
    arch = theory.Architecture(depth=3, **settings)
    stack = architectures.dense(depth=3, shape=SHAPE, **settings)
    one = mlp.mlp(arch, 8, C, parametrisation=parametrisation)
    other = stacked.network(stack, 8, C, parametrisation=parametrisation)
    of_one, of_other = (jax.jit(net.init)(KEY, X) for net in (one, other))
    # two programs: roundings may differ
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
    jax.tree.map(close, of_one, of_other)
    close(jax.jit(other.apply)(of_other, X), jax.jit(one.apply)(of_one, X))


def test_shared_weights_are_equal_local_ones():
    shared, local = (Convolution(shared=of) for of in (True, False))
    one, other = (
        stacked.network(stack_of(of, Phi(), GlobalAverage(), Dense()), 5, C)
        for of in (shared, local)
    )
    params = jax.jit(one.init)(KEY, X)
    spread = jax.tree.map(lambda leaf: leaf, params)
    first = params["params"]["layer_1"]
    spread["params"]["layer_1"] = {
        "kernel": np.repeat(first["kernel"][None], 24, axis=0),
        "bias": np.repeat(first["bias"][:, None], 24, axis=1),
    }
    shapes = jax.eval_shape(other.init, KEY, X)
    assert jax.tree.map(np.shape, spread) == jax.tree.map(np.shape, shapes)
    found = np.asarray(jax.jit(other.apply)(spread, X))
    expected = np.asarray(jax.jit(one.apply)(params, X))
    # sums of 18, 24 and 5 numbers of order one
    digits = 47 * float(np.finfo(np.float32).eps)
    np.testing.assert_allclose(found, expected, rtol=0, atol=digits)


def test_biases_and_the_parametrisations():
    stack = stack_of(Convolution(), Phi(), Flatten(), Dense(), b_var=0.0)
    shapes = {
        kind: jax.eval_shape(
            stacked.network(stack, 5, C, parametrisation=kind).init, KEY, X
        )["params"]["layer_1"]
        for kind in layers.PARAMETRISATIONS
    }
    assert set(shapes["ntk"]) == {"kernel"}
    assert set(shapes["standard"]) == {"kernel", "bias"}


def test_equal_settings_give_equal_modules():
    linear = architectures.dense(depth=1, shape=SHAPE, activation="relu")
    assert stacked.network(linear, None, C) == stacked.network(linear, 7, C)
    make = lambda: stacked.network(stack_of(Convolution(), Flatten(), Dense()), 5, C)
    assert make() == make()
    assert hash(make()) == hash(make())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"channels": 0}, "`channels` must be an integer of at least 1, got 0"),
        ({"channels": None}, "`channels` must be an integer of at least 1, got None"),
        ({"num_classes": True}, "`num_classes` must be an integer, got True"),
        ({"parametrisation": "nkt"}, "unknown parametrisation 'nkt': did you mean"),
        ({"stack": stack_of(Convolution(), Dense())}, "Dense follows Flatten or"),
        (
            {"stack": stack_of(Residual((Convolution(),)), Flatten(), Dense())},
            "a Residual adds to many channels",
        ),
        ({"stack": stack_of(Flatten(), Dense(), b_var=-0.1)}, "`b_var` must be finite"),
    ],
)
def test_bad_settings_are_refused(settings, text):
    asked: dict = {"channels": 4, "num_classes": C}
    asked["stack"] = stack_of(Convolution(), Phi(), Flatten(), Dense())
    with raises(text):
        stacked.network(**(asked | settings))


def test_images_of_another_shape_are_refused():
    net = stacked.network(stack_of(Convolution(), Flatten(), Dense()), 5, C)
    text = r"images of shape \(6, 4, 2\) are rows of 48 numbers, got 96"
    with pytest.raises(InputError, match=text):  # JAX adds lines of its own
        net.init(KEY, jnp.zeros((2, 96)))
