"""Two-layer networks: tangent kernel, law of the initialisation, errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

from ntk_corrupt.networks import two_layer
from theory.activations import registry

D, M = 5, 8
X = jnp.asarray(np.random.default_rng(0).normal(size=(6, D)))
KEY = jax.random.key(1)
MAKE = {"signed": two_layer.signed, "gaussian": two_layer.gaussian}


def made(name, activation="softplus", d=D, m=M, key=KEY, dtype=jnp.float64):
    return MAKE[name](registry.get(activation), d, m, key=key, dtype=dtype)


@jax.jit
def both_grams(net):
    """Four rows of the gram, and the Jacobians by automatic differentiation."""
    outputs = lambda trained: net.moved(*trained)(X)
    return net.jacobian_gram(X[:4], X), jax.jacobian(outputs)((net.w, net.b))


@pytest.mark.parametrize("name", MAKE)
def test_outputs_by_hand(name):
    net = made(name, "tanh")
    w, a = np.asarray(net.w), np.asarray(net.a)
    b = np.zeros(M) if net.b is None else np.asarray(net.b)
    for x, found in zip(np.asarray(X), np.asarray(net(X)), strict=True):
        expected = sum(a[j] * np.tanh(w[j] @ x + b[j]) for j in range(M))
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("activation", ["softplus", "erf", "relu"])
def test_gram_of_the_jacobians(name, activation):
    gram, jacobian = both_grams(made(name, activation))
    parts = jax.tree.leaves(jacobian)
    assert len(parts) == (1 if name == "signed" else 2)
    jacobian = np.concatenate([np.reshape(part, (len(X), -1)) for part in parts], 1)
    np.testing.assert_allclose(gram, jacobian[:4] @ jacobian.T, rtol=1e-9, atol=1e-12)


def test_gram_tends_to_the_kernel_of_infinite_width():
    # w ~ N(0, 1), |a|^2 = 1: <x, z> E[phi'(wx) phi'(wz)], the first layer's part
    net = made("signed", "erf", m=40_000)
    x = np.asarray(X)
    q, k = (x**2).sum(axis=1), x @ x.T
    slopes = 4 / np.pi / np.sqrt(np.outer(1 + 2 * q, 1 + 2 * q) - 4 * k**2)
    # phi' is at most 2/sqrt(pi): so is the deviation of a product of two 4/pi
    error = 4 / np.pi / 40_000**0.5 * np.abs(k)
    gram = jax.jit(lambda net: net.jacobian_gram(X, X))(net)
    gap = np.abs(np.asarray(gram) - k * slopes)
    assert (gap <= 5 * error).all()


def test_laws_of_the_initialisation():
    def variance(values, expected):
        values = np.asarray(values).ravel()
        error = expected * (2 / values.size) ** 0.5
        assert (values**2).mean() == pytest.approx(expected, abs=5 * error)
        assert values.mean() == pytest.approx(
            0, abs=5 * (expected / values.size) ** 0.5
        )

    signed, gaussian, other = (
        jax.tree.map(np.asarray, net)
        for net in (
            made("signed", d=20, m=1000),
            made("gaussian", d=20, m=1000),
            made("gaussian", d=20, m=1000, key=jax.random.key(2)),
        )
    )
    variance(signed.w, 1.0)
    assert signed.b is None
    np.testing.assert_allclose(np.abs(signed.a), 1000**-0.5)
    assert int((signed.a > 0).sum()) == 500
    variance(gaussian.w, 1 / 20)
    variance(gaussian.b, 1.0)
    variance(gaussian.a, 1 / 1000)
    # independent of each other, and of another key's
    for one, two in (
        (gaussian.a, gaussian.b),
        (gaussian.a, gaussian.w[:, 0] * 20**0.5),
        (gaussian.b, other.b),
    ):
        assert abs(np.corrcoef(one, two)[0, 1]) < 5 / 1000**0.5


def test_only_what_is_trained_moves():
    net = made("gaussian")
    moved = net.moved(net.w + 1, net.b)
    np.testing.assert_array_equal(moved.w, net.w + 1)
    np.testing.assert_array_equal(moved.a, net.a)
    np.testing.assert_array_equal(moved.b, net.b)
    assert moved.activation is net.activation
    np.testing.assert_array_equal(net.moved(net.w, net.b)(X), net(X))


def test_goes_through_jit_grad_and_vmap():
    keys = jax.random.split(KEY, 3)
    nets = jax.jit(jax.vmap(lambda key: made("gaussian", key=key)))(keys)
    outputs = jax.jit(jax.vmap(lambda net: net(X)))(nets)
    for key, found in zip(keys, outputs, strict=True):
        expected = made("gaussian", key=key)(X)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    net = made("signed")
    loss = jax.jit(lambda w: (net.moved(w, None)(X) ** 2).sum())
    slope = jax.jit(jax.grad(loss))(net.w)
    h, hit = 1e-6, np.zeros((M, D))
    hit[2, 3] = 1.0
    difference = (loss(net.w + h * hit) - loss(net.w - h * hit)) / (2 * h)
    # rounding of the loss over h: 1e-10 of it
    assert float(slope[2, 3]) == pytest.approx(float(difference), rel=1e-5)
    single = dataclasses.replace(made("gaussian", dtype=jnp.float32))
    assert single(X.astype(jnp.float32)).dtype == jnp.float32


def test_odd_widths():
    with raises("`m` must be even, got 7"):
        made("signed", m=7)
    assert made("gaussian", m=7)(X).shape == (6,)
