"""The empirical NTK against explicit Jacobians, neural-tangents and the wide limit."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from flax import linen as nn

import theory
from ntk_corrupt import neural_tangents
from ntk_corrupt.kernels import empirical
from ntk_corrupt.networks import layers, mlp

N, D, C = 6, 5, 3
X = jnp.asarray(np.random.default_rng(0).standard_normal((N, D)))
KEY = jax.random.key(0)


def initial(model):
    return jax.jit(model.init)(KEY, X)


@functools.cache
def network(parametrisation="standard", width=7, depth=3, b_var=0.3, activation="erf"):
    arch = theory.Architecture(
        depth=depth, activation=activation, w_var=1.3, b_var=b_var
    )
    model = mlp.mlp(arch, width, C, parametrisation=parametrisation)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), initial(model)
    )
    return arch, model, params


def by_jacobian(model, params, x):
    """(n, c, n, c), every derivative held."""
    jacobian = jax.jit(jax.jacobian(lambda params: model.apply(params, x)))(params)
    rows = [
        np.asarray(leaf).reshape(len(x) * C, -1) for leaf in jax.tree.leaves(jacobian)
    ]
    whole = np.concatenate(rows, axis=1)
    return (whole @ whole.T).reshape(len(x), C, len(x), C)


class Patches(nn.Module):
    """A layer at many positions and one after it."""

    @nn.compact
    def __call__(self, x):
        patches = jnp.stack([x[:, :3], x[:, 1:4], x[:, 2:5]], axis=1)
        flat = patches.reshape(-1, 3)
        y = layers.Layer(features=4, w_var=1.0, b_var=0.1, name="conv")(flat)
        y = jnp.tanh(y).reshape(len(x), -1)
        return layers.Layer(features=C, w_var=1.0, b_var=0.1, name="head")(y)


class Local(nn.Module):
    """Weights of their own at many positions, and a layer after them."""

    parametrisation: str = "standard"

    @nn.compact
    def __call__(self, x):
        patches = jnp.stack([x[:, :3], x[:, 1:4], x[:, 2:5]], axis=1)
        settings: dict[str, Any] = dict(w_var=1.3, b_var=0.2)
        settings["parametrisation"] = self.parametrisation
        y = layers.LocalLayer(features=4, name="local", **settings)(patches)
        y = jnp.tanh(y).reshape(len(x), -1)
        return layers.Layer(features=C, name="head", **settings)(y)


CASES = {
    "standard": lambda: network()[1:],
    "without b_var": lambda: network(b_var=0.0)[1:],
    "ntk": lambda: network("ntk")[1:],
    "ntk without biases": lambda: network("ntk", b_var=0.0)[1:],
    "relu": lambda: network(activation="relu")[1:],
    "linear": lambda: network(depth=1)[1:],
    "positions": lambda: (Patches(), initial(Patches())),
    "local": lambda: (Local(), initial(Local())),
    "local, ntk": lambda: (Local("ntk"), initial(Local("ntk"))),
}


@pytest.mark.parametrize("case", CASES)
def test_is_that_of_the_jacobian(case):
    model, params = CASES[case]()
    expected = by_jacobian(model, params, X)
    every = empirical.ntk(model, params, X, "all")
    scale = np.abs(expected).max()
    # sums over some 120 parameters, of products of a few roundings each
    digits = 512 * jnp.finfo(jax.tree.leaves(params)[0].dtype).eps
    np.testing.assert_allclose(every, expected, rtol=0, atol=digits * scale)
    trace = empirical.ntk(model, params, X)
    np.testing.assert_allclose(
        trace, np.einsum("aibi->ab", expected), rtol=0, atol=3 * digits * scale
    )
    labels = np.array([0, 2, 1, 1, 0, 2])
    of_class = empirical.ntk(model, params, X, jnp.asarray(labels))
    picked = expected[np.arange(N), labels][:, np.arange(N), labels]
    np.testing.assert_allclose(of_class, picked, rtol=0, atol=digits * scale)


def test_is_that_of_neural_tangents():
    nt = neural_tangents.load()
    _, model, params = network()
    theirs = nt.empirical_ntk_fn(
        lambda params, x: model.apply(params, x), trace_axes=(), vmap_axes=0
    )
    theirs = np.transpose(jax.jit(theirs)(X, None, params), (0, 2, 1, 3))
    np.testing.assert_allclose(
        empirical.ntk(model, params, X, "all"),
        theirs,
        rtol=0,
        atol=1e-10 * np.abs(theirs).max(),
    )


def test_wide_networks_reach_the_infinite_kernel():
    # the kernel of width w differs by O(1/sqrt w): twice the distance at a quarter
    expected = np.asarray(theory.ntk_gram(X, network()[0]))
    distances = {}
    for width in (32, 512):
        arch = network()[0]
        assert float(arch.b_var) == 0.3
        model = mlp.mlp(arch, width, C, parametrisation="ntk")
        one = lambda key, model=model: empirical.ntk(model, model.init(key, X), X)
        draws = jax.jit(functools.partial(jax.lax.map, one))
        found = draws(jax.random.split(KEY, 20))
        distances[width] = np.array(
            [empirical.distance(kernel, expected) for kernel in np.asarray(found) / C]
        )
    ratio = np.mean(distances[32]) / np.mean(distances[512])
    spreads = [np.std(d, ddof=1) / np.mean(d) for d in distances.values()]
    errors = np.linalg.norm(spreads) / 20**0.5
    assert abs(ratio / 4 - 1) < 5 * errors
    assert errors < 0.1  # hence no power but 1/2 of these two widths: 2 or 8


def test_spectrum():
    identity = empirical.spectrum(np.eye(8))
    assert identity.effective_rank == pytest.approx(8)
    assert identity.trace == pytest.approx(8)
    # a network of constant outputs: the ones of the last bias
    ones = empirical.spectrum(np.ones((8, 8)))
    assert ones.effective_rank == pytest.approx(1)
    assert abs(ones.negative) < 64 * np.finfo(float).eps
    kernel = np.diag([1.0, 2.0, 4.0])
    share = np.array([1, 2, 4]) / 7
    found = empirical.spectrum(kernel)
    assert found.entropy == pytest.approx(-(share * np.log(share)).sum())
    assert empirical.spectrum(5 * kernel).effective_rank == pytest.approx(
        found.effective_rank
    )
    np.testing.assert_allclose(found.eigenvalues, [1, 2, 4])
    indefinite = empirical.spectrum(np.diag([-1.0, 2.0]))
    assert indefinite.negative == pytest.approx(-0.5)
    assert indefinite.effective_rank == pytest.approx(1)
    assert np.isnan(empirical.spectrum(np.zeros((3, 3))).effective_rank)
    every = empirical.spectrum(np.eye(6).reshape(2, 3, 2, 3))
    assert every.effective_rank == pytest.approx(6)


def test_distance_and_alignment():
    one = np.diag([1.0, 2.0])
    assert empirical.distance(2 * one, one) == pytest.approx(1)
    assert empirical.alignment(2 * one, one) == pytest.approx(1)
    assert empirical.alignment(np.diag([2.0, -1.0]), one) == pytest.approx(0)


class Twice(nn.Module):
    """One layer, applied twice."""

    @nn.compact
    def __call__(self, x):
        layer = layers.Layer(features=D, w_var=1.0, b_var=0.0)
        return layer(layer(x))


class Foreign(nn.Module):
    """Parameters of another layer."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(C)(x)


def test_what_is_not_made_of_layers_is_refused():
    for model, text in (
        (Twice(), "a layer must be applied once, and Layer_0 is applied again"),
        (Foreign(), "those of models.Layer, got params/Dense_0/bias, params/Dense_0/k"),
    ):
        with raises(text):
            empirical.ntk(model, initial(model), X)
    _, model, params = network()
    with raises("`outputs` must be one of trace, all"):
        empirical.ntk(model, params, X, "some")
    with raises("`outputs` must be an array (n,) with n = 6, got shape (2,)"):
        empirical.ntk(model, params, X, jnp.zeros(2, int))
