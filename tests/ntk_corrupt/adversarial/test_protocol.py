"""Learning from adversarial perturbations: data, training, attacks, targets, scores."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from closeness import assert_close, raises

from ntk_corrupt.adversarial import attacks, descent, two_classes
from ntk_corrupt.adversarial.attacks import Attack
from ntk_corrupt.adversarial.protocol import (
    Protocol,
    draw_targets,
    first,
    scores,
    second,
    second_inputs,
)
from ntk_corrupt.networks import two_layer
from theory.activations import registry

KEY = jax.random.key(0)
N, D, M = 24, 6, 15
# In NumPy, for oracles, and as the networks see them.
X64 = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32).astype(float)
Y64 = np.where(np.arange(N) % 3 == 0, 1.0, -1.0)


def single(values):
    """Of single precision, as networks see it; nothing is compiled."""
    return jax.device_put(np.asarray(values, np.float32))


X, Y = single(X64), single(Y64)
EPS = float(np.finfo(np.float32).eps)
# Of one sum of some twenty terms of size one; of a few steps on such sums.
ROUNDING, TRAINED = 16 * EPS, 128 * EPS

perturb = jax.jit(attacks.perturb)
along = jax.jit(attacks.along)
unit = jax.jit(attacks.unit, static_argnames="norm")
project = jax.jit(attacks.project, static_argnames="norm")


def network(slope=0.1, seed=1):
    return descent.network(D, M, slope, key=jax.random.key(seed))


def leaky_relu(slope):
    return two_layer.LeakyRelu(slope=single(slope))


def rates(*values):
    return single(values)


def train(x, y, rate, steps, *, slope=0.1, loss="identity", plateau=False):
    """At two rates, of which the second is the one asked for."""
    net = network(slope)
    return descent.train_at_rates(
        net, x, y, rates(0.1, rate), steps, loss=loss, plateau=plateau
    )


def parts(net):
    slope = net.activation.slope
    return [np.asarray(part, float) for part in (net.w, net.b, net.a, slope)]


def by_hand(net, x, y, rate, steps, *, loss="identity", plateau=False):
    """Descent with momentum in float64: weights, biases, factors of the rate."""
    w, b, a, slope = parts(net)
    speed, bad, best, scale, scales = [0.0, 0.0], 0, np.inf, 1.0, []
    for _ in range(steps):
        h = x @ w.T + b
        margin = y * (np.where(h > 0, h, slope * h) @ a)
        value, push = -margin.mean(), -y
        if loss == "logistic":
            value = np.logaddexp(0, -margin).mean()
            push = -y * scipy.special.expit(-margin)
        if plateau:
            bad = 0 if value < (1 - 1e-4) * best else bad + 1
            best = min(best, value)
            if bad == 10:
                bad, scale = 0, scale / 10
        scales.append(scale)
        by_h = (push / len(y))[:, None] * np.where(h > 0, 1, slope) * a
        speed = [0.9 * speed[0] + by_h.T @ x, 0.9 * speed[1] + by_h.sum(axis=0)]
        w, b = w - rate * scale * speed[0], b - rate * scale * speed[1]
    return w, b, scales


def test_a_network_is_a_two_layer_network():
    phi = registry.leaky_relu(0.3)
    drawn = jax.jit(functools.partial(two_layer.gaussian, phi, D, M))
    of, net = drawn(key=jax.random.key(1)), network(0.3)
    # the same normal numbers, by another program
    np.testing.assert_allclose(net.w, of.w, rtol=ROUNDING)
    call: Any = jax.jit(lambda net, x: net(x))
    assert_close(call(net, X), call(of, X))
    gram: Any = jax.jit(lambda net, x: net.jacobian_gram(x, x))
    assert_close(gram(net, X), gram(of, X))


@pytest.mark.parametrize("loss", ["identity", "logistic"])
def test_training_is_descent_with_momentum(loss):
    w, b, _ = by_hand(network(), X64, Y64, 0.5, 7, loss=loss)
    found = train(X, Y, 0.5, 7, loss=loss)
    assert found.w.dtype == jnp.float32
    np.testing.assert_allclose(found.w[1], w, rtol=TRAINED, atol=TRAINED)
    np.testing.assert_allclose(found.b[1], b, rtol=TRAINED, atol=TRAINED)
    np.testing.assert_array_equal(found.a[1], network().a)


def test_sets_and_rates_are_trained_by_themselves():
    sets = single(np.stack([X64, X64[::-1]]))
    nets = descent.train_on_each(
        network(), sets, Y, rates(0.1, 1.0), 5, loss="identity", plateau=False
    )
    assert nets.w.shape == (2, 2, M, D)
    one = train(sets[1], Y, 1.0, 5)
    np.testing.assert_allclose(nets.w[1, 1], one.w[1], rtol=TRAINED, atol=TRAINED)
    outputs = descent.outputs(nets, X)
    assert outputs.shape == (2, 2, N)
    w, b, a, slope = parts(jax.tree.map(lambda part: np.asarray(part)[1, 1], nets))
    h = X64 @ w.T + b
    expected = np.where(h > 0, h, slope * h) @ a
    size = (np.abs(h) @ np.abs(a)).max()
    np.testing.assert_allclose(outputs[1, 1], expected, atol=ROUNDING * size, rtol=0)


def test_the_plateau():
    # both labels for each input: the logistic loss has a least value above zero
    x, y = np.concatenate([X64[:12]] * 2), np.concatenate([Y64[:12], -Y64[:12]])
    both = single(x), single(y)
    # far enough from it for every verdict of the plateau: by .4% at least
    w, _, scales = by_hand(network(), x, y, 100, 40, loss="logistic", plateau=True)
    assert scales[0] == 1
    assert scales[-1] <= 0.1  # else nothing is tested
    found = np.asarray(train(*both, 100.0, 40, loss="logistic", plateau=True).w[1])
    np.testing.assert_allclose(found, w, atol=TRAINED * np.abs(w).max(), rtol=0)
    assert np.abs(found - train(*both, 100.0, 40, loss="logistic").w[1]).max() > 1
    # the loss "identity" has no least value
    with_it, without = (
        np.asarray(train(X, Y, 1.0, 40, plateau=plateau).w) for plateau in (True, False)
    )
    atol = TRAINED * np.abs(without).max()
    np.testing.assert_allclose(with_it, without, atol=atol, rtol=0)


def test_numbers_that_are_swept_are_traced():
    def run(rate, steps, slope, eps):
        protocol = Protocol(
            steps_f=steps,
            steps_g=steps,
            rates_f=rates(rate, 1.0),
            rates_g=rates(rate, 1.0),
        )
        sample = two_classes.TwoClasses(X, Y, X, Y)
        f = first(protocol, network(slope), sample)
        r = attacks.perturb_each(f, X, Y, Attack(eps=eps)).r
        second(protocol, network(slope), r, Y)

    jitted: tuple[Any, ...] = (
        descent.train_at_rates,
        descent.train_on_each,
        attacks.perturb_each,
    )
    run(0.1, 3, 0.1, 0.1)
    before = [fn._cache_size() for fn in jitted]
    run(0.2, 4, 0.0, 0.3)
    assert [fn._cache_size() for fn in jitted] == before


@pytest.mark.parametrize("kind", ["balanced", "stratified"])
def test_targets_are_balanced(kind):
    y = jax.device_put(np.where(np.arange(101) < 31, 1.0, -1.0))
    drawn = [
        np.asarray(draw_targets(y, kind, key=jax.random.key(k))) for k in range(40)
    ]
    assert all(set(each) == {-1.0, 1.0} and abs(each.sum()) == 1 for each in drawn)
    in_class = np.array([each[:31].sum() for each in drawn])
    assert (np.abs(in_class) == 1).all() == (kind == "stratified")
    assert len({tuple(each) for each in drawn}) == 40
    # each target by itself is a fair coin: a bound of 5 standard errors
    assert np.abs(np.mean(drawn, axis=0)).max() < 5 / 40**0.5
    assert {-1, 1} <= set(in_class)


def test_other_targets():
    y = np.where(np.arange(1000) < 310, 1.0, -1.0)
    draw = lambda kind: np.asarray(draw_targets(jax.device_put(y), kind, key=KEY))
    np.testing.assert_array_equal(draw("wrong"), -y)
    assert 0 < abs(draw("iid").sum()) < 5 * 1000**0.5
    with raises("unknown targets 'even'"):
        draw("even")


def test_unit_steps():
    x = single([[3.0, -4.0], [3e-30, 4e-30], [0.0, 0.0]])
    expected = [[0.6, -0.8], [0.6, 0.8], [0, 0]]
    np.testing.assert_allclose(unit(x, norm="l2"), expected, rtol=ROUNDING)
    np.testing.assert_array_equal(unit(x, norm="linf"), [[1, -1], [1, 1], [0, 0]])
    with raises("unknown norm 'l1'"):
        attacks.unit(x, "l1")


def test_projection():
    r = single([[3.0, -4.0], [0.3, 0.4]])
    expected = [[1.2, -1.6], [0.3, 0.4]]
    np.testing.assert_allclose(project(r, 2.0, norm="l2"), expected, rtol=ROUNDING)
    expected = np.array([[2.0, -2.0], [0.3, 0.4]], np.float32)
    np.testing.assert_array_equal(project(r, 2.0, norm="linf"), expected)


def test_one_step_goes_where_the_target_is():
    net, eps = network(), 1e-3
    r = np.asarray(perturb(net, X, Y, Attack(eps=eps)).r, float)
    np.testing.assert_allclose(np.linalg.norm(r, axis=1), eps, rtol=ROUNDING)
    w, b, a, slope = parts(net)
    of = lambda x: (lambda h: np.where(h > 0, h, slope * h) @ a)(x @ w.T + b)
    # differences of a function that is linear so near: nothing but rounding
    step = 1e-6
    slopes = np.stack(
        [of(X64 + step * e) - of(X64 - step * e) for e in np.eye(D)], axis=1
    ) / (2 * step)
    size = np.abs(a) @ np.abs(w)  # of what is summed up to the gradient
    length = np.linalg.norm(slopes, axis=1, keepdims=True)
    expected = Y64[:, None] * slopes / length
    error = ROUNDING * np.linalg.norm(size) / length.min()
    np.testing.assert_allclose(r / eps, expected, atol=error, rtol=0)
    assert np.abs(expected).min() > error  # signs are told
    signs = perturb(net, X, Y, Attack(eps=eps, norm="linf")).r
    np.testing.assert_allclose(signs, eps * np.sign(expected), rtol=ROUNDING)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_several_steps_go_further_in_the_same_ball(norm):
    net, eps = network(), 1.0
    one, many = (
        np.asarray(perturb(net, X, Y, Attack(eps=eps, norm=norm, steps=steps)).r, float)
        for steps in (1, 12)
    )
    order = 2 if norm == "l2" else np.inf
    assert np.linalg.norm(many, ord=order, axis=1).max() <= eps * (1 + ROUNDING)
    w, b, a, slope = parts(net)
    of = lambda x: (lambda h: np.where(h > 0, h, slope * h) @ a)(x @ w.T + b)
    gain = lambda r: Y64 * (of(X64 + r) - of(X64))
    assert gain(many).mean() > gain(one).mean()
    assert (gain(many) >= gain(one) - 1e-3).mean() > 0.8


@pytest.mark.parametrize("steps", [1, 12])
def test_inputs_without_a_gradient_are_counted(steps):
    def changed(net, **fields):
        fields = {name: single(of) for name, of in fields.items()}
        return dataclasses.replace(net, **fields)

    dead = changed(network(slope=0.0), b=np.full(M, -100.0))
    attack = Attack(eps=0.5, steps=steps)
    found = perturb(dead, X, Y, attack)
    assert int(found.stuck) == N
    np.testing.assert_array_equal(found.r, 0.0)
    far = np.where(np.arange(N)[:, None] < 4, 1e4, 1.0) * X64
    some = perturb(dead, single(far), Y, attack)
    assert int(some.stuck) == N - 4
    leaky = dataclasses.replace(dead, activation=leaky_relu(0.1))
    assert int(perturb(leaky, X, Y, attack).stuck) == 0
    # one input that no unit looks at is not no gradient
    blind = changed(leaky, w=np.asarray(leaky.w) * (np.arange(D) > 0))
    assert int(perturb(blind, X, Y, attack).stuck) == 0
    given = along(single((np.arange(N)[:, None] > 0) * X64), Y, attack)
    assert int(given.stuck) == 1
    np.testing.assert_allclose(
        given.r[1], -0.5 * X64[1] / np.linalg.norm(X64[1]), rtol=ROUNDING
    )


def constant(value, *counts):
    """Networks whose output is the same everywhere."""
    of = lambda shape, value: single(np.full((*counts, *shape), value))
    return two_layer.TwoLayer(
        w=of((1, D), 0), b=of((1,), abs(value)), a=of((1,), np.sign(value)),
        activation=leaky_relu(of((), 0)),
    )  # fmt: skip


def test_scores():
    sample = two_classes.TwoClasses(X, Y, X[:5], Y[:5])
    f, g = constant(1.0, 1), constant(-2.0, 1, 2)
    found = scores(f, g, sample)
    assert found.acc_f.shape == (1,)
    assert found.acc_g.shape == found.agreement.shape == (1, 2)
    np.testing.assert_allclose(found.acc_f, 8 / 24)
    np.testing.assert_allclose(found.acc_g, 16 / 24)
    np.testing.assert_allclose(found.test_f, 2 / 5)
    np.testing.assert_allclose(found.test_g, 3 / 5)
    np.testing.assert_array_equal(found.agreement, 0.0)
    # no output, no decision; no number, no accuracy
    silent = scores(f, constant(0.0, 1, 2), sample)
    np.testing.assert_array_equal(silent.acc_g, 0.0)
    broken = scores(constant(np.inf, 1), g, sample)
    assert np.isnan(broken.acc_f).all()
    assert np.isnan(broken.agreement).all()
    np.testing.assert_allclose(broken.acc_g, 16 / 24)


def test_mean_cosine():
    half = (np.arange(N)[:, None] >= N // 2) * X64
    r = single(np.stack([X64, -2 * X64, half]))
    found = attacks.mean_cosine(r, X)
    np.testing.assert_allclose(found, [1.0, 1.0, 0.5], rtol=ROUNDING)


def learn(scenario, eps, sample, targets="stratified"):
    d = sample.x.shape[1]
    protocol = Protocol(
        steps_f=100,
        steps_g=100,
        rates_f=rates(0.1),
        rates_g=rates(0.1, 1.0),
        scenario=scenario,
    )
    f = first(protocol, descent.network(d, 30, 0.0, key=KEY), sample)
    other = descent.network(d, 40, 0.0, key=jax.random.key(9))
    y = draw_targets(sample.y, targets, key=KEY)
    r = attacks.perturb_each(f, sample.x, y, Attack(eps=eps)).r
    inputs = second_inputs(protocol, sample.x, r)
    g = second(protocol, other, inputs, y)
    return other, g, scores(f, g, sample)


def test_g_learns_the_classes_and_not_without_perturbations():
    sample = two_classes.shifted_gauss(200, 40, n_test=100, seed=0)
    for scenario, eps in (("alone", 0.1), ("added", 1.0)):
        _, _, found = learn(scenario, eps, sample)
        assert np.asarray(found.acc_f).min() > 0.9
        assert np.asarray(found.acc_g).min() > 0.9, scenario
        assert np.asarray(found.agreement).min() > 0.9, scenario
    other, g, _ = learn("alone", 0.0, sample)
    # nothing but zeros to learn from, half with either target: the slopes of weights
    # are zero, those of biases round; 100 steps of at most 1/(1 - .9) go as far
    np.testing.assert_array_equal(g.w, np.broadcast_to(other.w, g.w.shape))
    atol = 100 * 10 * ROUNDING * float(np.abs(other.a).max())
    np.testing.assert_allclose(g.b, np.broadcast_to(other.b, g.b.shape), atol=atol)


def test_inputs_of_the_scenarios():
    r = single(np.ones((2, N, D)))
    protocol = Protocol(steps_f=1, steps_g=1, rates_f=rates(1.0), rates_g=rates(1.0))
    np.testing.assert_array_equal(second_inputs(protocol, X, r), r)
    added = dataclasses.replace(protocol, scenario="added")
    found = second_inputs(added, X, r)
    np.testing.assert_array_equal(found[1], np.asarray(X) + np.float32(1))
    with raises("unknown scenario 'both'"):
        second_inputs(dataclasses.replace(protocol, scenario="both"), X, r)


def test_synthetic_data():
    sample = two_classes.shifted_gauss(2000, 3, n_test=501, seed=0)
    assert sample.x.dtype == jnp.float32
    assert sample.x_test.shape == (501, 3)
    x, y = (np.asarray(part, float) for part in (sample.x, sample.y))
    assert y.sum() == 0
    shift = (y[:, None] * x).mean(axis=0)
    np.testing.assert_allclose(shift, 0.3, atol=5 / 2000**0.5)
    spread = np.std(y[:, None] * x, axis=0)
    np.testing.assert_allclose(spread, 1.0, atol=5 / (2 * 2000) ** 0.5)
    plain = two_classes.gauss(2000, 3, n_test=501, seed=0)
    x, y = (np.asarray(part, float) for part in (plain.x, plain.y))
    assert y.sum() == 0
    assert abs(np.asarray(plain.y_test).sum()) == 1
    np.testing.assert_allclose((y[:, None] * x).mean(axis=0), 0, atol=5 / 2000**0.5)
    other = two_classes.gauss(2000, 3, n_test=501, seed=5)
    assert np.abs(np.asarray(other.x) - x).max() > 0.1


def test_two_classes_of_images():
    sample, swapped = (
        jax.tree.map(
            np.asarray, two_classes.images("digits", of, n=50, n_test=20, seed=1)
        )
        for of in ((8, 3), (3, 8))
    )
    assert sample.x.dtype == np.float32
    assert sample.x.shape == (50, 64)
    assert sample.y.sum() == sample.y_test.sum() == 0
    # the mean that was taken off is a rounded sum of 3200 pixels
    assert abs(sample.x.mean(dtype=float)) < 5 * 3200**0.5 * EPS * np.ptp(sample.x)
    means = lambda of: np.stack(
        [of.x[of.y * sign > 0].mean(axis=0) for sign in (1, -1)]
    )
    same = np.corrcoef(means(sample), means(swapped))[:2, 2:]
    assert same[0, 1] > 0.97 > same[0, 0]
    assert same[1, 0] > 0.97 > same[1, 1]
    with raises("`classes` must be two different labels, got (1, 1)"):
        two_classes.images("digits", (1, 1), n=50)
    assert two_classes.images("gaussian_prototypes", (0, 1), n=10).x.shape[0] == 10


def test_orthogonal_inputs():
    found = two_classes.orthogonal(7, 9, n_test=4, seed=0)
    x = np.asarray(found.x, float)
    # float32 entries of size one, sums of nine products
    np.testing.assert_allclose(x @ x.T / 9, np.eye(7), atol=ROUNDING)
    assert sorted(np.asarray(found.y).tolist()) == [-1.0] * 3 + [1.0] * 4
    assert found.x_test.shape == (4, 9)
    with raises("`n` must be at most d, got n = 7 and d = 6"):
        two_classes.orthogonal(7, 6, n_test=4, seed=0)


def test_the_exponential_loss_weighs_what_is_wrong():
    margin = np.array([-2.0, 0.0, 3.0])
    found = descent.LOSSES["exponential"](single(margin))
    np.testing.assert_allclose(found, np.exp(-margin), rtol=ROUNDING)
