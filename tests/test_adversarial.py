"""Learning from adversarial perturbations: data, training, attacks, targets, scores."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close
from problems import raises

from ntk_corrupt import (
    adversarial,
    adversarial_attacks,
    adversarial_data,
    adversarial_training,
    two_layer,
)
from ntk_corrupt.adversarial import Protocol
from ntk_corrupt.adversarial_attacks import Attack
from theory import activations

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (12, 6), jnp.float32)
Y = jnp.where(jnp.arange(12) % 3 == 0, 1.0, -1.0).astype(jnp.float32)


def network(slope=0.1, m=15, seed=1):
    return adversarial_training.network(6, m, slope, key=jax.random.key(seed))


def rates(*values):
    return jnp.asarray(values, jnp.float32)


def test_a_network_is_a_two_layer_network():
    of = two_layer.gaussian(activations.leaky_relu(0.3), 6, 15, key=jax.random.key(1))
    net = network(0.3)
    np.testing.assert_allclose(net.w, of.w, rtol=1e-6)
    assert_close(net(X), of(X))


@pytest.mark.parametrize("loss", ["identity", "logistic"])
def test_training_is_descent_with_momentum(loss):
    net, rate = network(), 0.5
    losses = {
        "identity": lambda f: -(Y * f).mean(),
        "logistic": lambda f: jnp.log(1 + jnp.exp(-Y * f)).mean(),
    }
    of = two_layer.gaussian(activations.leaky_relu(0.1), 6, 15, key=jax.random.key(1))
    at, speed = (of.w, of.b), (0.0, 0.0)
    for _ in range(7):
        slopes = jax.grad(lambda at: losses[loss](of.moved(*at)(X)))(at)
        speed = tuple(0.9 * v + g for v, g in zip(speed, slopes, strict=True))
        at = tuple(p - rate * v for p, v in zip(at, speed, strict=True))
    found = adversarial_training.train_at_rates(
        net, X, Y, rates(0.1, rate), 7, loss=loss
    )
    assert found.w.dtype == jnp.float32
    np.testing.assert_allclose(found.w[1], at[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.b[1], at[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.a[1], net.a)


def test_sets_and_rates_are_trained_by_themselves():
    sets = jnp.stack([X, X[::-1]])
    nets = adversarial_training.train_on_each(network(), sets, Y, rates(0.1, 1.0), 5)
    assert nets.w.shape == (2, 2, 15, 6)
    one = adversarial_training.train_at_rates(network(), sets[1], Y, rates(1.0), 5)
    np.testing.assert_allclose(nets.w[1, 1], one.w[0], rtol=1e-5, atol=1e-6)
    outputs = adversarial_training.outputs(nets, X)
    assert outputs.shape == (2, 2, 12)
    last = jax.tree.map(lambda part: part[1, 1], nets)
    np.testing.assert_allclose(outputs[1, 1], last(X), rtol=1e-4, atol=1e-5)


def test_the_plateau():
    # both labels for each input: the logistic loss has a least value above zero
    x, y = jnp.concatenate([X, X]), jnp.concatenate([Y, -Y])

    def train(steps, rate=100.0, **how):
        nets = adversarial_training.train_at_rates(
            network(), x, y, rates(rate), steps, **how
        )
        return np.asarray(nets.w[0])

    bad, best, scale, net, speed = 0, np.inf, 1.0, network(), (0.0, 0.0)
    at = (net.w, net.b)
    loss = lambda at: jax.nn.softplus(
        -y * dataclasses.replace(net, w=at[0], b=at[1])(x)
    ).mean()
    scales = []
    for _ in range(40):
        value, slopes = jax.value_and_grad(loss)(at)
        bad = 0 if value < (1 - 1e-4) * best else bad + 1
        best = min(best, value)
        if bad == 10:
            bad, scale = 0, scale / 10
        scales.append(scale)
        speed = tuple(0.9 * v + g for v, g in zip(speed, slopes, strict=True))
        at = tuple(p - 100 * scale * v for p, v in zip(at, speed, strict=True))
    assert scales[0] == 1
    assert scales[-1] <= 0.1  # else nothing is tested
    found = train(40, loss="logistic", plateau=True)
    np.testing.assert_allclose(found, at[0], atol=1e-2 * np.abs(found).max())
    assert np.abs(found - train(40, loss="logistic")).max() > 1
    # the loss "identity" has no least value
    of = lambda plateau: adversarial_training.train_at_rates(
        net, X, Y, rates(1.0), 40, plateau=plateau
    )
    np.testing.assert_allclose(of(True).w, of(False).w, rtol=1e-4, atol=1e-4)


def test_numbers_that_are_swept_are_traced():
    def run(rate, steps, slope, eps):
        protocol = Protocol(
            steps_f=steps, steps_g=steps, rates_f=rates(rate), rates_g=rates(rate)
        )
        sample = adversarial_data.TwoClasses(X, Y, X, Y)
        f = adversarial.first(protocol, network(slope), sample)
        r = adversarial_attacks.perturb_each(f, X, Y, Attack(eps=eps)).r
        adversarial.second(protocol, network(slope), r, Y)

    jitted: tuple[Any, ...] = (
        adversarial_training.train_at_rates,
        adversarial_training.train_on_each,
        adversarial_attacks.perturb_each,
    )
    run(0.1, 3, 0.1, 0.1)
    before = [fn._cache_size() for fn in jitted]
    run(0.2, 4, 0.0, 0.3)
    assert [fn._cache_size() for fn in jitted] == before


@pytest.mark.parametrize("kind", ["balanced", "stratified"])
def test_targets_are_balanced(kind):
    y = jnp.where(jnp.arange(101) < 31, 1.0, -1.0)
    drawn = [
        np.asarray(adversarial.draw_targets(y, kind, key=jax.random.key(k)))
        for k in range(40)
    ]
    assert all(set(each) == {-1.0, 1.0} and abs(each.sum()) == 1 for each in drawn)
    in_class = np.array([each[:31].sum() for each in drawn])
    assert (np.abs(in_class) == 1).all() == (kind == "stratified")
    assert len({tuple(each) for each in drawn}) == 40
    # each target by itself is a fair coin: a bound of 5 standard errors
    assert np.abs(np.mean(drawn, axis=0)).max() < 5 / 40**0.5
    assert {-1, 1} <= set(in_class)


def test_other_targets():
    y = jnp.where(jnp.arange(1000) < 310, 1.0, -1.0)
    np.testing.assert_array_equal(adversarial.draw_targets(y, "wrong", key=KEY), -y)
    iid = np.asarray(adversarial.draw_targets(y, "iid", key=KEY))
    assert 0 < abs(iid.sum()) < 5 * 1000**0.5
    with raises("unknown targets 'even'"):
        adversarial.draw_targets(y, "even", key=KEY)


def test_unit_steps():
    x = jnp.asarray([[3.0, -4.0], [3e-30, 4e-30], [0.0, 0.0]], jnp.float32)
    found = np.asarray(adversarial_attacks.unit(x, "l2"))
    np.testing.assert_allclose(found, [[0.6, -0.8], [0.6, 0.8], [0, 0]], rtol=1e-6)
    found = np.asarray(adversarial_attacks.unit(x, "linf"))
    np.testing.assert_array_equal(found, [[1, -1], [1, 1], [0, 0]])
    with raises("unknown norm 'l1'"):
        adversarial_attacks.unit(x, "l1")


def test_projection():
    r = jnp.asarray([[3.0, -4.0], [0.3, 0.4]], jnp.float32)
    found = adversarial_attacks.project(r, 2.0, "l2")
    np.testing.assert_allclose(found, [[1.2, -1.6], [0.3, 0.4]], rtol=1e-6)
    found = adversarial_attacks.project(r, 2.0, "linf")
    np.testing.assert_allclose(found, [[2.0, -2.0], [0.3, 0.4]])


def test_one_step_goes_where_the_target_is():
    net, eps = network(), 1e-3
    r = adversarial_attacks.perturb(net, X, Y, Attack(eps=eps)).r
    np.testing.assert_allclose(np.linalg.norm(r, axis=1), eps, rtol=1e-5)
    wide = dataclasses.replace(net, w=net.w.astype(float), b=net.b.astype(float))
    steps = 1e-6 * jnp.eye(6)
    moved = lambda sign: jax.vmap(
        lambda step: wide(X.astype(float) + sign * step[None])
    )
    slopes = (moved(1.0)(steps) - moved(-1.0)(steps)).T / 2e-6
    expected = Y[:, None] * slopes / jnp.linalg.norm(slopes, axis=1, keepdims=True)
    np.testing.assert_allclose(r / eps, expected, atol=1e-4)
    signs = adversarial_attacks.perturb(net, X, Y, Attack(eps=eps, norm="linf")).r
    np.testing.assert_allclose(signs, eps * np.sign(expected), rtol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_several_steps_go_further_in_the_same_ball(norm):
    net, eps = network(m=60), 1.0
    one = adversarial_attacks.perturb(net, X, Y, Attack(eps=eps, norm=norm)).r
    many = adversarial_attacks.perturb(
        net, X, Y, Attack(eps=eps, norm=norm, steps=12)
    ).r
    order = 2 if norm == "l2" else np.inf
    assert np.linalg.norm(many, ord=order, axis=1).max() <= eps * (1 + 1e-5)
    gain = lambda r: np.asarray(Y * (net(X + r) - net(X)))
    assert gain(many).mean() > gain(one).mean()
    assert (gain(many) >= gain(one) - 1e-3).mean() > 0.8


@pytest.mark.parametrize("steps", [1, 3])
def test_inputs_without_a_gradient_are_counted(steps):
    net = network(slope=0.0)
    dead = dataclasses.replace(net, b=jnp.full_like(net.b, -100.0))
    attack = Attack(eps=0.5, steps=steps)
    found = adversarial_attacks.perturb(dead, X, Y, attack)
    assert int(found.stuck) == 12
    np.testing.assert_array_equal(found.r, 0.0)
    some = adversarial_attacks.perturb(dead, X.at[:4].multiply(1e4), Y, attack)
    assert int(some.stuck) == 8
    leaky = dataclasses.replace(dead, slope=jnp.float32(0.1))
    assert int(adversarial_attacks.perturb(leaky, X, Y, attack).stuck) == 0
    # one input that no unit looks at is not no gradient
    blind = dataclasses.replace(leaky, w=leaky.w.at[:, 0].set(0.0))
    assert int(adversarial_attacks.perturb(blind, X, Y, attack).stuck) == 0
    given = adversarial_attacks.along(X.at[0].set(0.0), Y, attack)
    assert int(given.stuck) == 1
    np.testing.assert_allclose(
        given.r[1], -0.5 * X[1] / np.linalg.norm(X[1]), rtol=1e-5
    )


def constant(value, count=1):
    """Networks whose output is the same everywhere."""
    of = lambda shape: jnp.zeros((count, *shape), jnp.float32)
    return adversarial_training.Network(
        w=of((1, 6)), b=of((1,)) + abs(value), a=of((1,)) + np.sign(value), slope=of(())
    )


def test_scores():
    sample = adversarial_data.TwoClasses(X, Y, X[:5], Y[:5])
    f, g = constant(1.0), jax.tree.map(lambda part: part[None], constant(-2.0, 2))
    found = adversarial.scores(f, g, sample)
    assert found.acc_f.shape == (1,)
    assert found.acc_g.shape == found.agreement.shape == (1, 2)
    np.testing.assert_allclose(found.acc_f, 4 / 12)
    np.testing.assert_allclose(found.acc_g, 8 / 12)
    np.testing.assert_allclose(found.test_f, 2 / 5)
    np.testing.assert_allclose(found.test_g, 3 / 5)
    np.testing.assert_allclose(found.agreement, 0.0)
    # no output, no decision; no number, no accuracy
    silent = adversarial.scores(f, jax.tree.map(jnp.zeros_like, g), sample)
    np.testing.assert_allclose(silent.acc_g, 0.0)
    broken = adversarial.scores(constant(np.inf), g, sample)
    assert np.isnan(broken.acc_f).all()
    assert np.isnan(broken.agreement).all()
    np.testing.assert_allclose(broken.acc_g, 8 / 12)


def test_mean_cosine():
    r = jnp.stack([X, -2 * X, X.at[:6].set(0.0)])
    found = adversarial_attacks.mean_cosine(r, X)
    np.testing.assert_allclose(found, [1.0, 1.0, 0.5], rtol=1e-5)


def learn(scenario, eps, sample, targets="stratified"):
    d = sample.x.shape[1]
    protocol = Protocol(
        steps_f=100,
        steps_g=100,
        rates_f=rates(0.1),
        rates_g=rates(0.1, 1.0),
        scenario=scenario,
    )
    f = adversarial.first(
        protocol, adversarial_training.network(d, 30, 0.0, key=KEY), sample
    )
    other = adversarial_training.network(d, 40, 0.0, key=jax.random.key(9))
    y = adversarial.draw_targets(sample.y, targets, key=KEY)
    r = adversarial_attacks.perturb_each(f, sample.x, y, Attack(eps=eps)).r
    inputs = adversarial.second_inputs(protocol, sample.x, r)
    g = adversarial.second(protocol, other, inputs, y)
    return other, g, adversarial.scores(f, g, sample)


def test_g_learns_the_classes_and_not_without_perturbations():
    sample = adversarial_data.shifted_gauss(200, 40, n_test=100, seed=0)
    for scenario, eps in (("alone", 0.1), ("added", 1.0)):
        _, _, found = learn(scenario, eps, sample)
        assert np.asarray(found.acc_f).min() > 0.9
        assert np.asarray(found.acc_g).min() > 0.9, scenario
        assert np.asarray(found.agreement).min() > 0.9, scenario
    other, g, _ = learn("alone", 0.0, sample)
    # nothing but zeros to learn from, half with either target
    np.testing.assert_allclose(g.w, np.broadcast_to(other.w, g.w.shape), atol=1e-5)
    np.testing.assert_allclose(g.b, np.broadcast_to(other.b, g.b.shape), atol=1e-4)


def test_inputs_of_the_scenarios():
    r = jnp.ones((2, 12, 6), jnp.float32)
    protocol = Protocol(steps_f=1, steps_g=1, rates_f=rates(1.0), rates_g=rates(1.0))
    np.testing.assert_array_equal(adversarial.second_inputs(protocol, X, r), r)
    added = dataclasses.replace(protocol, scenario="added")
    found = adversarial.second_inputs(added, X, r)
    np.testing.assert_array_equal(found[1], X + 1)
    with raises("unknown scenario 'both'"):
        adversarial.second_inputs(dataclasses.replace(protocol, scenario="both"), X, r)


def test_synthetic_data():
    sample = adversarial_data.shifted_gauss(2000, 3, n_test=501, seed=0)
    assert sample.x.dtype == jnp.float32
    assert sample.x_test.shape == (501, 3)
    assert sample.y.sum() == 0
    mean = np.asarray((sample.y[:, None] * sample.x).mean(axis=0))
    np.testing.assert_allclose(mean, 0.3, atol=5 / 2000**0.5)
    np.testing.assert_allclose(np.std(sample.x, axis=0), 1.0, atol=0.1)
    plain = adversarial_data.gauss(2000, 3, n_test=501, seed=0)
    assert plain.y.sum() == 0
    assert abs(plain.y_test.sum()) == 1
    mean = np.asarray((plain.y[:, None] * plain.x).mean(axis=0))
    np.testing.assert_allclose(mean, 0.0, atol=5 / 2000**0.5)
    other = adversarial_data.gauss(2000, 3, n_test=501, seed=5)
    assert np.abs(other.x - plain.x).max() > 0.1


def test_two_classes_of_images():
    sample = adversarial_data.images("digits", (8, 3), n=50, n_test=20, seed=1)
    assert sample.x.dtype == jnp.float32
    assert sample.x.shape == (50, 64)
    assert sample.y.sum() == sample.y_test.sum() == 0
    assert abs(float(sample.x.mean())) < 1e-6
    swapped = adversarial_data.images("digits", (3, 8), n=50, n_test=20, seed=1)
    means = lambda of: np.stack(
        [of.x[of.y * sign > 0].mean(axis=0) for sign in (1, -1)]
    )
    same = np.corrcoef(means(sample), means(swapped))[:2, 2:]
    assert same[0, 1] > 0.97 > same[0, 0]
    assert same[1, 0] > 0.97 > same[1, 1]
    with raises("`classes` must be two different labels, got (1, 1)"):
        adversarial_data.images("digits", (1, 1), n=50)
    assert adversarial_data.images("gaussian_prototypes", (0, 1), n=10).x.shape[0] == 10
