"""Gradient descent and its linearisation: brute force, closed forms, the wide limit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import raises

import theory
from ntk_corrupt import cluster_training, two_layer
from ntk_corrupt.cluster_training import (
    Linearised,
    at_start,
    decide,
    descend,
    flow,
    loss,
    regress,
    step_size,
)
from theory import activations, kernels
from theory.cluster_covariance import fixed_output

N, M, D = 12, 7, 4
RNG = np.random.default_rng(0)
X, X_TEST = (jnp.asarray(RNG.normal(size=(k, D)) / D**0.5) for k in (N, M))
Y = jnp.asarray(RNG.integers(0, 2, N), jnp.float64)
STEPS = (2, 3, 50)


def network(name="tanh", width=16, seed=0):
    key = jax.random.key(seed)
    phi = activations.get(name)
    return two_layer.signed(phi, D, width, key=key, dtype=jnp.float64)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_descent_step_by_step(name):
    net, ridge, rate = network(name), 0.3, 0.2
    phi, slope = {
        "relu": (lambda h: np.maximum(h, 0), lambda h: 1.0 * (h > 0)),
        "tanh": (np.tanh, lambda h: 1 / np.cosh(h) ** 2),
    }[name]
    x, x_test, y = (np.asarray(part) for part in (X, X_TEST, Y))
    a, w = np.asarray(net.a), np.asarray(net.w)
    start, found = w.copy(), []
    for step in range(STEPS[-1] + 1):
        h = x @ w.T
        if step in STEPS:
            found.append((phi(h) @ a, phi(x_test @ w.T) @ a, w - start))
        missed = phi(h) @ a - y
        by_w = np.einsum("i,j,ij,ik->jk", missed, a, slope(h), x)
        w = w - rate * (by_w + ridge * (w - start))
    path = descend(net, X, Y, X_TEST, steps=STEPS, rate=rate, ridge=ridge)
    outputs, test_outputs, moved = (np.array(part) for part in zip(*found, strict=True))
    np.testing.assert_allclose(path.outputs, outputs, rtol=1e-9)
    np.testing.assert_allclose(path.test_outputs, test_outputs, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.asarray(path.w) - start, moved, atol=1e-12)
    np.testing.assert_allclose(
        path.distance, np.sqrt((moved**2).sum(axis=(1, 2))), rtol=1e-9
    )


def test_a_sweep_compiles_once():
    traced, counts = [], []

    def counted(u):
        traced.append(u)
        return jnp.tanh(u)

    phi = activations.Activation("counted", counted, activations.get("tanh").dual)
    net = dataclasses.replace(network(), activation=phi)
    for steps, rate, ridge in (((0, 2), 0.1, 0.0), ((1, 9), 0.2, 1.0)):
        descend(net, X, Y * rate, X_TEST, steps=steps, rate=rate, ridge=ridge)
        counts.append(len(traced))
    assert counts[0] == counts[1] > 0


def test_networks_at_once():
    nets = [network(seed=k) for k in range(3)]
    many = jax.tree.map(lambda *parts: jnp.stack(parts), *nets)
    targets = jnp.stack([Y, 1 - Y, 0 * Y])
    rates = jax.vmap(step_size, (0, None))(many, X)
    found = jax.vmap(
        lambda net, y, rate: descend(net, X, y, X_TEST, steps=STEPS, rate=rate)
    )(many, targets, rates)
    for k, net in enumerate(nets):
        rate = 1 / np.linalg.eigvalsh(net.jacobian_gram(X, X))[-1]
        np.testing.assert_allclose(rates[k], rate, rtol=1e-12)
        one = descend(net, X, targets[k], X_TEST, steps=STEPS, rate=rates[k])
        np.testing.assert_allclose(found.outputs[k], one.outputs, rtol=1e-9)
        np.testing.assert_allclose(found.w[k], one.w, rtol=1e-9)


def linear():
    """A network that is linear in its weights: its linearisation is itself."""
    net = network("identity")
    return net, at_start(net, X, X_TEST)


def test_flow_of_a_linear_network():
    net, model = linear()
    # steps so small that descent is flow: the error is of order rate
    rate, steps = 1e-5, np.array([0, 1000, 100_000])
    path = descend(net, X, Y, X_TEST, steps=steps, rate=rate)
    found = flow(model, Y, jnp.asarray(rate * steps))
    for name in ("outputs", "test_outputs", "distance"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(path, name), rtol=1e-4, atol=1e-5
        )


def test_ridge_of_a_linear_network():
    net, model = linear()
    ridges = jnp.array([0.1, 1.0])
    found = regress(model, Y, ridges)
    for k, ridge in enumerate(ridges):
        rate = step_size(net, X, ridge)
        path = descend(net, X, Y, X_TEST, steps=(2000,), rate=rate, ridge=ridge)
        for name in ("outputs", "test_outputs", "distance"):
            np.testing.assert_allclose(
                getattr(found, name)[k], getattr(path, name)[0], atol=1e-9
            )
    assert found.distance[0] > found.distance[1]


def test_the_limit_is_the_trajectory_of_the_theory():
    # from a start of zero the targets of one of two classes are those of one output
    arch = fixed_output("erf", D)
    problem = theory.Problem(
        x_train=X,
        labels_train=Y.astype(int),
        x_test=X_TEST,
        labels_test=jnp.zeros(M, int),
        num_classes=2,
    )
    options: dict = {"draws": 1, "key": jax.random.key(0), "with_init_var": False}
    clean, times = theory.Replacement(p=0.0), np.array([0.0, 0.5, 20.0])
    model = Linearised(
        kernel=kernels.ntk_gram(X, arch),
        rows=kernels.ntk(X_TEST, X, arch),
        start=jnp.zeros(N),
        test_start=jnp.zeros(M),
    )
    found = flow(model, Y, jnp.asarray(times))
    path = theory.trajectory(arch, clean, problem, times=times, **options)
    np.testing.assert_allclose(
        found.test_outputs, path.outputs[0, ..., 1], rtol=1e-10, atol=1e-12
    )
    missed = np.array([loss(found.outputs, y).mean(axis=1) for y in (Y, 0 * Y)])
    assert missed[0, 0] == pytest.approx(float(jnp.square(Y).mean()) / 2)


def test_wide_networks_follow_the_flow():
    arch, times, apart = fixed_output("relu", D), np.array([1.0, 5.0]), {}
    kernel, rows = kernels.ntk_gram(X, arch), kernels.ntk(X_TEST, X, arch)
    for width in (64, 1024):
        found = []
        for seed in range(4):
            net = network("relu", width, seed)
            path = descend(net, X, Y, X_TEST, steps=(50, 250), rate=0.02)
            start = at_start(net, X, X_TEST)
            limit = dataclasses.replace(start, kernel=kernel, rows=rows)
            law = flow(limit, Y, jnp.asarray(times))
            found.append(jnp.square(law.test_outputs - path.test_outputs).mean())
        apart[width] = float(np.sqrt(np.mean(found)))
    # as width^-1/2: 4 times
    assert 2 < apart[64] / apart[1024] < 8
    assert apart[1024] < 0.1


def test_distance_and_loss_at_the_ends():
    net = network("tanh", 64)
    model = at_start(net, X, X_TEST)
    found = flow(model, Y, jnp.array([0.0, 1e9]))
    np.testing.assert_allclose(found.outputs[0], net(X), rtol=1e-12)
    assert float(found.distance[0]) == 0
    missed = Y - model.start
    np.testing.assert_allclose(found.outputs[1], Y, atol=1e-6)
    shortest = float(missed @ jnp.linalg.solve(model.kernel, missed)) ** 0.5
    assert float(found.distance[1]) == pytest.approx(shortest, rel=1e-6)


def test_decisions_and_losses():
    outputs = jnp.array([[-0.9, 0.1, 0.74], [0.76, 3.0, -0.26]])
    np.testing.assert_array_equal(
        decide(outputs, jnp.array([0.5, 1.0, -1.0])), [[2, 0, 0], [1, 1, 2]]
    )
    np.testing.assert_allclose(
        loss(outputs, jnp.zeros(3))[0], [0.405, 0.005, 0.74**2 / 2]
    )


def test_precision_is_that_of_the_network():
    net = jax.tree.map(lambda part: part.astype(jnp.float32), network())
    x, y, x_test = (part.astype(jnp.float32) for part in (X, Y, X_TEST))
    path = descend(net, x, y, x_test, steps=(1,), rate=jnp.asarray(0.1, jnp.float64))
    assert {part.dtype for part in jax.tree.leaves(path)} == {jnp.dtype("float32")}
    model = at_start(net, x, x_test).astype(jnp.float64)
    assert {part.dtype for part in jax.tree.leaves(model)} == {jnp.dtype("float64")}


def test_bad_input():
    for steps in ((), (3, 3), (-1, 2), (2, 1)):
        with raises("`steps` must ascend from 0 or later"):
            descend(network(), X, Y, X_TEST, steps=steps, rate=0.1)
    biased = dataclasses.replace(network(), b=jnp.zeros(16))
    with raises("`network` must have no biases"):
        cluster_training.descend(biased, X, Y, X_TEST, steps=(1,), rate=0.1)
