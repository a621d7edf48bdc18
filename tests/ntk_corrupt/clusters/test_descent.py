"""Gradient descent and its linearisation: brute force, closed forms, the wide limit."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

import theory
from ntk_corrupt.clusters import descent
from ntk_corrupt.clusters.descent import (
    Linearised,
    at_start,
    decide,
    descend,
    flow,
    loss,
    regress,
    step_size,
)
from ntk_corrupt.networks import two_layer
from theory.activations import registry
from theory.kernels import matrices
from theory.two_layer.clusters import fixed_output

N, M, D = 12, 7, 4
RNG = np.random.default_rng(0)
X, X_TEST = (jax.device_put(RNG.normal(size=(k, D)) / D**0.5) for k in (N, M))
Y = jax.device_put(RNG.integers(0, 2, N).astype(float))
STEPS = (2, 3, 50)
# Of one sum of numbers of size one, and of fifty steps on such sums.
ROUNDING = 64 * float(np.finfo(float).eps)
STEPPED = STEPS[-1] * ROUNDING


@functools.partial(jax.jit, static_argnames=("phi", "width"))
def _network(phi, width, key):
    return two_layer.signed(phi, D, width, key=key, dtype=jnp.float64)


def network(name="tanh", width=16, seed=0):
    return _network(registry.get(name), width, jax.random.key(seed))


def outputs_of(net, x, phi):
    w, a, x = (np.asarray(part) for part in (net.w, net.a, x))
    return phi(x @ w.T) @ a


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
    distance = np.sqrt((moved**2).sum(axis=(1, 2)))
    for one, other in (
        (path.outputs, outputs),
        (path.test_outputs, test_outputs),
        (np.asarray(path.w) - start, moved),
        (path.distance, distance),
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=STEPPED)


def test_a_sweep_compiles_once():
    traced, counts = [], []

    def counted(u):
        traced.append(u)
        return jnp.tanh(u)

    phi = registry.Activation("counted", counted, registry.get("tanh").dual)
    net = dataclasses.replace(network(), activation=phi)
    for steps, rate, ridge in (((0, 2), 0.1, 0.0), ((1, 9), 0.2, 1.0)):
        y = jax.device_put(np.asarray(Y) * rate)
        descend(net, X, y, X_TEST, steps=steps, rate=rate, ridge=ridge)
        counts.append(len(traced))
    assert counts[0] == counts[1] > 0


def test_networks_at_once():
    nets = [network(seed=k) for k in range(3)]
    many = jax.tree.map(
        lambda *parts: jax.device_put(np.stack([np.asarray(part) for part in parts])),
        *nets,
    )
    y = np.asarray(Y)
    targets = jax.device_put(np.stack([y, 1 - y, 0 * y]))
    rates = jax.vmap(step_size, (0, None))(many, X)
    found = jax.vmap(
        lambda net, y, rate: descend(
            net, X, y, X_TEST, steps=STEPS, rate=rate, ridge=0.0
        )
    )(many, targets, rates)
    for k, net in enumerate(nets):
        gram = np.asarray(at_start(net, X, X_TEST).kernel)
        rate = 1 / np.linalg.eigvalsh(gram)[-1]
        np.testing.assert_allclose(rates[k], rate, rtol=ROUNDING)
        one = descend(net, X, targets[k], X_TEST, steps=STEPS, rate=rates[k], ridge=0.0)
        for name in ("outputs", "w"):
            np.testing.assert_allclose(
                getattr(found, name)[k], getattr(one, name), rtol=0, atol=STEPPED
            )


def linear():
    """A network that is linear in its weights: its linearisation is itself."""
    net = network("identity")
    return net, at_start(net, X, X_TEST)


def test_flow_of_a_linear_network():
    net, model = linear()
    # steps so small that descent is flow: the error is of order rate
    rate, steps = 1e-5, np.array([0, 1000, 100_000])
    path = descend(net, X, Y, X_TEST, steps=steps, rate=rate)
    found = flow(model, Y, jax.device_put(rate * steps))
    for name in ("outputs", "test_outputs", "distance"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(path, name), rtol=1e-4, atol=1e-5
        )


def test_ridge_of_a_linear_network():
    net, model = linear()
    ridges = np.array([0.1, 1.0])
    found = regress(model, Y, jax.device_put(ridges))
    top = np.linalg.eigvalsh(np.asarray(model.kernel))[-1]
    for k, ridge in enumerate(ridges):
        rate = step_size(net, X, ridge)
        # what 2000 steps leave, by a factor of 1 - rate ridge each; they forget
        # rounding as fast
        contraction = ridge / (top + ridge)
        atol = (1 - contraction) ** 2000 + STEPPED / contraction
        path = descend(net, X, Y, X_TEST, steps=(2000,), rate=rate, ridge=ridge)
        for name in ("outputs", "test_outputs", "distance"):
            np.testing.assert_allclose(
                getattr(found, name)[k], getattr(path, name)[0], rtol=0, atol=atol
            )
    assert found.distance[0] > found.distance[1]


def test_the_limit_is_the_trajectory_of_the_theory():
    # from a start of zero the targets of one of two classes are those of one output
    arch = fixed_output("erf", D)
    problem = theory.Problem(
        x_train=X,
        labels_train=jax.device_put(np.asarray(Y, int)),
        x_test=X_TEST,
        labels_test=jax.device_put(np.zeros(M, int)),
        num_classes=2,
    )
    options: dict = {"draws": 1, "key": jax.random.key(0), "with_init_var": False}
    clean, times = theory.Replacement(p=0.0), np.array([0.0, 0.5, 20.0])
    model = Linearised(
        kernel=matrices.ntk_gram(X, arch),
        rows=matrices.ntk(X_TEST, X, arch),
        start=jax.device_put(np.zeros(N)),
        test_start=jax.device_put(np.zeros(M)),
    )
    found = flow(model, Y, jax.device_put(times))
    path = theory.trajectory(arch, clean, problem, times=times, **options)
    # two programs for a kernel whose condition multiplies rounding
    atol = ROUNDING * np.linalg.cond(model.kernel)
    expected = np.asarray(path.outputs)[0, ..., 1]
    np.testing.assert_allclose(found.test_outputs, expected, rtol=0, atol=atol)
    missed = np.asarray(loss(found.outputs, Y)).mean(axis=1)
    assert missed[0] == pytest.approx(np.square(Y).mean() / 2)


def test_wide_networks_follow_the_flow():
    arch, times, apart = fixed_output("erf", D), np.array([1.0, 5.0]), {}
    kernel, rows = matrices.ntk_gram(X, arch), matrices.ntk(X_TEST, X, arch)
    for width in (64, 1024):
        found = []
        for seed in range(4):
            net = network("erf", width, seed)
            path = descend(net, X, Y, X_TEST, steps=(50, 250), rate=0.02)
            start = at_start(net, X, X_TEST)
            limit = dataclasses.replace(start, kernel=kernel, rows=rows)
            law = flow(limit, Y, jax.device_put(times))
            off = np.asarray(law.test_outputs) - np.asarray(path.test_outputs)
            found.append(np.square(off).mean())
        apart[width] = float(np.sqrt(np.mean(found)))
    # as width^-1/2: 4 times
    assert 2 < apart[64] / apart[1024] < 8
    assert apart[1024] < 0.1


def test_distance_and_loss_at_the_ends():
    net = network()
    model = at_start(net, X, X_TEST)
    found = flow(model, Y, jax.device_put(np.array([0.0, 1e9])))
    start, kernel = outputs_of(net, X, np.tanh), np.asarray(model.kernel)
    np.testing.assert_allclose(found.outputs[0], start, rtol=0, atol=ROUNDING)
    assert float(found.distance[0]) == 0
    missed, rounding = np.asarray(Y) - start, ROUNDING * np.linalg.cond(kernel)
    np.testing.assert_allclose(found.outputs[1], Y, rtol=0, atol=rounding)
    shortest = (missed @ np.linalg.solve(kernel, missed)) ** 0.5
    assert float(found.distance[1]) == pytest.approx(shortest, rel=rounding)


def test_decisions_and_losses():
    outputs = jax.device_put(np.array([[-0.9, 0.1, 0.74], [0.76, 3.0, -0.26]]))
    alphas = jax.device_put(np.array([0.5, 1.0, -1.0]))
    found = jax.jit(decide)(outputs, alphas)
    np.testing.assert_array_equal(found, [[2, 0, 0], [1, 1, 2]])
    found = np.asarray(jax.jit(loss)(outputs, jax.device_put(np.zeros(3))))
    np.testing.assert_allclose(found[0], [0.405, 0.005, 0.74**2 / 2])


def test_precision_is_that_of_the_network():
    single = lambda part: jax.device_put(np.asarray(part, np.float32))
    net = jax.tree.map(single, network())
    x, y, x_test = map(single, (X, Y, X_TEST))
    path = descend(net, x, y, x_test, steps=(1,), rate=jax.device_put(np.array(0.1)))
    assert {part.dtype for part in jax.tree.leaves(path)} == {jnp.dtype("float32")}
    model = at_start(net, x, x_test).astype(jnp.float64)
    assert {part.dtype for part in jax.tree.leaves(model)} == {jnp.dtype("float64")}


def test_bad_input():
    for steps in ((), (3, 3), (-1, 2), (2, 1)):
        with raises("`steps` must ascend from 0 or later"):
            descend(network(), X, Y, X_TEST, steps=steps, rate=0.1)
    biased = dataclasses.replace(network(), b=jax.device_put(np.zeros(16)))
    with raises("`network` must have no biases"):
        descent.descend(biased, X, Y, X_TEST, steps=(1,), rate=0.1)
