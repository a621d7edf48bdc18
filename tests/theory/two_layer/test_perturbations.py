"""Closed forms of what perturbations teach: against samples, sums and networks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from closeness import assert_close, within

from ntk_corrupt.networks import two_layer
from theory.activations import closed_forms, registry
from theory.two_layer import perturbations

RNG = np.random.default_rng(0)
X, Z = jnp.asarray(RNG.normal(size=(7, 5))), jnp.asarray(RNG.normal(size=(4, 5)))
Y = jnp.asarray(RNG.choice([-1.0, 1.0], 7))


@pytest.fixture(params=[3, 1024], ids=["blocks", "whole"])
def block(request, monkeypatch):
    monkeypatch.setattr(perturbations, "_BLOCK", request.param)
    forget()
    yield
    forget()


def forget():
    """Has the functions that read the size of a block traced anew."""
    for fn in ("directions", "second_output", "linear_output"):
        getattr(perturbations, fn).clear_cache()


def phi(x, z, slope):
    """Phi of two points in plain NumPy."""
    one, two = (np.append(point, len(point) ** 0.5) for point in (x, z))
    cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    angle = np.arccos(np.clip(cosine, -1, 1))
    return slope + (1 - slope) ** 2 * (np.pi - angle) / (2 * np.pi)


def kernel(x, z, slope):
    return np.array([[phi(one, two, slope) for two in z] for one in x])


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_slope_kernel_against_samples(slope):
    rng = np.random.default_rng(1)
    v, a = rng.normal(size=(20_000, 5)) / 5**0.5, rng.normal(size=(20_000, 1))
    slopes = lambda x: np.where(v @ np.asarray(x).T + a > 0, 1.0, slope)
    sample = slopes(X)[:, :, None] * slopes(Z)[:, None, :]
    found = perturbations.slope_kernel(X, Z, slope)
    within(sample, found)
    assert_close(np.asarray(found), kernel(X, Z, slope))
    x, z = np.asarray(X), np.asarray(Z)
    q1, q2 = ((points**2).mean(axis=1) + 1 for points in (x, z))
    pair = jax.jit(closed_forms.leaky_relu(slope).pair)
    assert_close(found, pair(q1[:, None], q2[None, :], x @ z.T / 5 + 1).slope)


@pytest.mark.parametrize("slope", [0.0, 0.5, 0.99])
def test_slope_kernel_is_a_kernel(slope):
    gram = np.asarray(perturbations.slope_kernel(X, X, slope))
    # the root of some eps, of the angle of a point with itself
    np.testing.assert_allclose(np.diag(gram), (1 + slope**2) / 2, rtol=0, atol=1e-7)
    assert np.linalg.eigvalsh(gram).min() > -1e-7
    # one part in 1e6 is left of the bias, whose angle with itself is pi
    x = 1e6 * np.asarray(X)
    far = np.diag(perturbations.slope_kernel(x, -x, slope))
    np.testing.assert_allclose(far, slope, rtol=0, atol=1e-5)


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_outputs_are_their_sums(slope, block):
    x, y, z = (np.asarray(part) for part in (X, Y, Z))
    of_x, of_z = kernel(x, x, slope), kernel(z, x, slope)
    moved = np.array(
        [sum(y[i] * of_x[n, i] * x[i] for i in range(7)) for n in range(7)]
    )
    # on the diagonal the angle has half of the digits: the root of some eps, 1e-8
    close = {"rtol": 1e-6, "atol": 1e-7}
    found = perturbations.directions(X, X, Y, slope)
    assert_close(np.asarray(found), moved / 7, **close)
    first = [sum(y * of_z[k] * (x @ z[k])) / 7 for k in range(4)]
    assert_close(
        np.asarray(perturbations.first_output(Z, X, Y, slope)), np.array(first)
    )
    inputs = x[::-1] + 0.1
    second = [sum(kernel([z[k]], inputs, slope)[0] * (moved @ z[k])) for k in range(4)]
    found = perturbations.second_output(Z, jnp.asarray(inputs), found, slope)
    assert_close(np.asarray(found), np.array(second) / 49, **close)
    linear = [sum(y * of_z[k] * (x @ z[k] + 1)) / 7 for k in range(4)]
    found = perturbations.linear_output(Z, X, Y, slope)
    assert_close(np.asarray(found), np.array(linear))


def networks(activation, count, m=20):
    keys = jax.random.split(jax.random.key(2), count)
    draw = lambda key: two_layer.gaussian(activation, 5, m, key=key, dtype=X.dtype)
    return jax.jit(jax.vmap(draw))(keys)


def test_networks_learn_the_closed_forms():
    # in the mean over initialisations at any width, at first order in time
    slope = 0.2
    nets = networks(registry.leaky_relu(slope), 3000)

    def learned(net):
        grown = jax.grad(lambda w, b: (Y * net.moved(w, b)(X)).mean(), argnums=(0, 1))(
            net.w, net.b
        )
        move = lambda t: net.moved(net.w + t * grown[0], net.b + t * grown[1])
        gradient = lambda t: jax.grad(lambda z: move(t)(z).sum())(Z)
        speed = jax.jvp(gradient, (0.0,), (1.0,))[1]
        output = jax.jvp(lambda t: move(t)(Z), (0.0,), (1.0,))[1]
        return speed, output, jax.grad(lambda z: net(z).sum())(Z)

    speed, output, start = map(np.asarray, jax.jit(jax.vmap(learned))(nets))
    within(speed, perturbations.directions(Z, X, Y, slope))
    within(output, perturbations.linear_output(Z, X, Y, slope))
    within((start**2).sum(axis=-1), np.full(4, (1 + slope**2) / 2))


def test_alignment():
    moved = perturbations.directions(Z, X, Y, 0.2)
    start = np.random.default_rng(3).normal(size=(40_000, 1, 5)) * (1.04 / 2 / 5) ** 0.5
    time = 1.5
    gradient = time * np.asarray(moved) + start
    # sizes and overlap by themselves: their ratio has a mean of its own
    own = time**2 * (np.asarray(moved) ** 2).sum(axis=1)
    found = perturbations.alignment(moved, time, 0.2)
    within((gradient**2).sum(axis=-1), own / np.asarray(found) ** 2)
    assert np.asarray(perturbations.alignment(moved, 0.0, 0.2)).max() == 0
    still = perturbations.alignment(jnp.zeros((1, 5)), 1.0, 1.0)
    assert np.asarray(still) == 0


@pytest.mark.parametrize("steps", [1, 2, 17])
def test_heavy_ball_time(steps):
    descent, where = optax.sgd(0.3, momentum=0.9), 0.0
    state = descent.init(jnp.zeros(()))
    for _ in range(steps):
        move, state = descent.update(-jnp.ones(()), state)
        where += float(np.asarray(move))
    assert where == pytest.approx(perturbations.heavy_ball_time(0.3, steps))


def test_slopes_are_traced():
    jitted: Any = perturbations.directions
    jitted(Z, X, Y, 0.1)
    before = jitted._cache_size()
    jitted(Z, X, Y, 0.7)
    assert jitted._cache_size() == before
