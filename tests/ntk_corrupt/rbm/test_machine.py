"""Boltzmann machines against sums over all their states, and against scikit-learn."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises, within
from problems import prototypes
from sklearn.neural_network import BernoulliRBM

from ntk_corrupt.rbm import classifiers
from ntk_corrupt.rbm import machine as rbm_machine
from theory.errors import NumericalError

KEY = jax.random.key(5)
hidden = jax.jit(rbm_machine.hidden)
D, H = 5, 3
ROUNDING = 256 * np.finfo(float).eps  # of sums of some 30 numbers of size one
SETTINGS: dict = {
    "components": H,
    "k": 1,
    "learning_rate": 0.1,
    "batch_size": 10,
    "epochs": 3,
}


def fit(x, *, key=KEY, **settings):
    return rbm_machine.fit(key, x, **{**SETTINGS, **settings})


def binary(n):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def machine_of(**parts):
    return rbm_machine.Rbm(**{name: jnp.asarray(part) for name, part in parts.items()})


def some_rbm(h=H, d=D, scale=0.8, seed=0):
    rng = np.random.default_rng(seed)
    return machine_of(
        weights=rng.normal(size=(h, d)) * scale,
        hidden_bias=rng.normal(size=h) * scale,
        visible_bias=rng.normal(size=d) * scale,
    )


def joint(machine):
    """exp(b.v + c.h + h.W v) of all binary v (rows) and h (columns)."""
    v, h = binary(machine.weights.shape[1]), binary(machine.weights.shape[0])
    energy = h @ np.asarray(machine.weights) @ v.T
    return np.exp(
        (v @ np.asarray(machine.visible_bias))[:, None]
        + (h @ np.asarray(machine.hidden_bias))[None]
        + energy.T
    )


def stripes(n=60):
    """Images of two kinds with a few wrong pixels."""
    rng = np.random.default_rng(1)
    kinds = np.array([[1, 1, 0, 0, 1], [0, 0, 1, 1, 0]])
    images = kinds[rng.integers(2, size=n)]
    return jnp.asarray(np.where(rng.random((n, D)) < 0.1, 1 - images, images), float)


def single(n):
    return jnp.asarray(np.asarray(stripes(n), np.float32))


def gradient_by_enumeration(machine, v):
    """E_data - E_machine of h v, h and v: both by sums over states."""
    states, hidden = binary(D), binary(H)
    weight = joint(machine)
    law = weight / weight.sum()
    rows = (np.asarray(v) @ 2 ** np.arange(D)[::-1]).astype(int)
    given_v = weight[rows] / weight[rows].sum(axis=1, keepdims=True)
    mean_h = given_v @ hidden
    return machine_of(
        weights=mean_h.T @ np.asarray(v) / len(v) - hidden.T @ law.T @ states,
        hidden_bias=mean_h.mean(axis=0) - law.sum(axis=0) @ hidden,
        visible_bias=np.asarray(v).mean(axis=0) - law.sum(axis=1) @ states,
    )


def leaves(machine):
    return [np.asarray(part) for part in jax.tree.leaves(machine)]


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)


@jax.jit
def likelihoods(machine, v):
    return {
        "energy": rbm_machine.free_energy(machine, v),
        "log_z": rbm_machine.log_partition(machine),
        "exact": rbm_machine.log_likelihood(machine, v),
        "pseudo": rbm_machine.pseudo_likelihood(machine, v),
    }


def test_energies_are_sums_over_states():
    machine, v = some_rbm(), binary(D)
    weight = joint(machine)
    found = likelihoods(machine, jnp.asarray(v))
    assert_close(found["energy"], -np.log(weight.sum(axis=1)))
    assert_close(found["log_z"], np.log(weight.sum()))
    assert_close(found["exact"], np.log(weight.sum(axis=1) / weight.sum()))
    given_v = weight / weight.sum(axis=1, keepdims=True)
    assert_close(hidden(machine, jnp.asarray(v)), given_v @ binary(H))
    given_h = (weight / weight.sum(axis=0)).T
    found = jax.jit(rbm_machine.visible)(machine, jnp.asarray(binary(H)))
    assert_close(found, given_h @ v)


def energy_by_hand(machine, v):
    """-b.v - sum_j log(1 + exp(c + W v))_j, of grey pixels too."""
    field = v @ np.asarray(machine.weights).T + np.asarray(machine.hidden_bias)
    return -v @ np.asarray(machine.visible_bias) - np.log1p(np.exp(field)).sum(axis=1)


def test_pseudo_likelihood_is_a_product_of_conditionals():
    machine, v = some_rbm(), binary(D)
    law = joint(machine).sum(axis=1)
    expected = []
    for image in v:
        index = int(image @ 2 ** np.arange(D)[::-1])
        flipped = [index ^ (1 << (D - 1 - i)) for i in range(D)]
        expected.append(
            sum(np.log(law[index] / (law[index] + law[f])) for f in flipped)
        )
    assert_close(likelihoods(machine, jnp.asarray(v))["pseudo"], expected)
    # grey pixels: the formula, pixel by pixel
    grey = np.random.default_rng(2).random(v.shape)
    energy, flips = energy_by_hand(machine, grey), 0.0
    for i in range(D):
        other = grey.copy()
        other[:, i] = 1 - grey[:, i]
        flips = flips - np.log1p(np.exp(energy - energy_by_hand(machine, other)))
    assert_close(likelihoods(machine, jnp.asarray(grey))["pseudo"], flips)
    # 250 images: 100 of them, two apart
    many = jnp.asarray(np.tile(v, (8, 1))[:250])
    found = jax.jit(rbm_machine.followed)(machine, many)
    assert_close(found, np.tile(expected, 8)[:250][::2][:100].mean())


def test_the_gradient_of_the_likelihood():
    machine, v = some_rbm(), stripes()
    mean = lambda m: rbm_machine.log_likelihood(m, v).mean()
    for found, expected in zip(
        leaves(jax.jit(jax.grad(mean))(machine)),
        leaves(gradient_by_enumeration(machine, v)),
        strict=True,
    ):
        assert_close(found, expected)


def estimates(machine, v, k, *, chains=None, count=200):
    """Gradients (count, parameters) by independent chains."""
    one = lambda key, chain: rbm_machine.cd_gradient(key, machine, v, k, chain)[0]
    axes = (0, None if chains is None else 0)
    found = jax.jit(jax.vmap(one, axes))(jax.random.split(KEY, count), chains)
    return np.concatenate([part.reshape(count, -1) for part in leaves(found)], axis=1)


def flat(machine):
    return np.concatenate([part.ravel() for part in leaves(machine)])


def test_long_chains_give_the_gradient_and_short_ones_do_not():
    machine, v = some_rbm(scale=1.2), stripes()
    exact = flat(gradient_by_enumeration(machine, v))
    found = estimates(machine, v, 40)
    within(found, exact)  # five errors; the chains' own bias is far below
    short = estimates(machine, v, 1)
    error = short.std(axis=0, ddof=1) / len(short) ** 0.5
    assert (np.abs(short.mean(axis=0) - exact) / error).max() > 20
    # from the hidden states of the machine itself one step is as good
    law = joint(machine).sum(axis=0)
    rng = np.random.default_rng(3)
    starts = rng.choice(len(law), p=law / law.sum(), size=(200, len(v)))
    within(estimates(machine, v, 1, chains=jnp.asarray(binary(H)[starts])), exact)


@pytest.mark.parametrize("persistent", [False, True])
def test_training_raises_the_likelihood(persistent):
    x = stripes()
    before, _ = fit(x, persistent=persistent, epochs=1, learning_rate=1e-9)
    after, followed = fit(x, persistent=persistent, epochs=100)
    first, last = (jax.device_get(likelihoods(m, x)) for m in (before, after))
    gain = last["exact"].mean() - first["exact"].mean()
    # weights of size .01 at the start
    np.testing.assert_allclose(first["exact"].mean(), -D * math.log(2), atol=0.01)
    # a law of independent pixels gains nothing: all are black as often as white
    assert gain > 0.8
    assert followed.shape == (100,)
    assert_close(followed[-1], last["pseudo"].mean())
    assert followed[-1] > followed[0] + 0.8


def test_a_fit_is_repeated_exactly_and_keeps_the_precision():
    x = single(25)  # 10 in a batch: five are left out
    first, second, other = (fit(x, key=key)[0] for key in (KEY, KEY, jax.random.key(6)))
    for one, again in zip(leaves(first), leaves(second), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, again)
    assert not np.array_equal(first.weights, other.weights)


def test_hidden_units_are_those_of_scikit_learn():
    x = np.random.default_rng(0).random((30, 12))
    theirs = BernoulliRBM(n_components=7, n_iter=5, batch_size=6, random_state=0).fit(x)
    machine = classifiers.machine(theirs)
    assert_close(hidden(machine, jnp.asarray(x)), theirs.transform(x))
    energy = jax.jit(rbm_machine.free_energy)(machine, jnp.asarray(x))
    assert_close(energy, theirs._free_energy(x))


@pytest.fixture(scope="module")
def problem():
    found = prototypes((20, 20, 20), n_test=60, d=16, spread=0.7, kind="unit")
    binary = lambda x: jnp.asarray((np.asarray(x) > 0.5).astype(x.dtype))
    return dataclasses.replace(
        found, x_train=binary(found.x_train), x_test=binary(found.x_test)
    )


@pytest.mark.parametrize("method", classifiers.METHODS)
def test_every_method_learns(problem, method):
    x, labels = np.asarray(problem.x_train), np.asarray(problem.labels_train)
    config = classifiers.RbmConfig(
        components=20, learning_rate=0.2, batch_size=6, epochs=40, k=1
    )
    fitted = classifiers.features_and_classifier(
        method, x, labels, config=config, seed=3
    )
    labels_test = np.asarray(problem.labels_test)
    right = fitted.predict(np.asarray(problem.x_test)) == labels_test
    assert right.mean() > 0.8, right.mean()
    if method.startswith("rbm"):
        machine = classifiers.machine(fitted["rbm"])
        assert machine.weights.shape == (20, 16)
        assert_close(fitted["rbm"].transform(x), hidden(machine, jnp.asarray(x)))
    with raises("`x` must be pixels in [0, 1], got [-"):
        fitted.predict(np.asarray(problem.x_test) - 1)


def test_the_class_mean_rule(problem):
    x, labels = np.asarray(problem.x_train), np.asarray(problem.labels_train)
    config = classifiers.RbmConfig()
    fitted = classifiers.features_and_classifier("class_mean", x, labels, config=config)
    means = np.stack([x[labels == i].mean(axis=0) for i in range(3)])
    test = np.asarray(problem.x_test)
    distances = ((test[:, None] - means[None]) ** 2).sum(axis=2)
    # where rounding does not decide
    clear = np.diff(np.sort(distances, axis=1))[:, 0] > ROUNDING
    assert clear.mean() > 0.9
    nearest = distances.argmin(axis=1)
    np.testing.assert_array_equal(fitted.predict(test)[clear], nearest[clear])


def test_bad_input_is_refused(problem):
    x = np.asarray(stripes())
    for images, text in (
        (x - 0.5, "`x` must be pixels in [0, 1], got [-0.5, 0.5]"),
        (np.where(x == x[0], np.nan, x), "`x` must be finite, got NaN"),
    ):
        with raises(text):
            fit(jnp.asarray(images))
    for settings, text in (
        ({"components": 0}, "`components` must be an integer of at least 1, got 0"),
        ({"k": 0}, "`k` must be an integer of at least 1, got 0"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1, got 0"),
        ({"epochs": 0}, "`epochs` must be an integer of at least 1, got 0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive, got 0.0"),
        ({"learning_rate": math.nan}, "`learning_rate` must be a number, got nan"),
    ):
        with raises(text):
            fit(jnp.asarray(x), **settings)
    with raises("`rbm` must have at most 12 hidden units for its log Z, got 13"):
        rbm_machine.log_partition(some_rbm(h=13))
    few = single(25)
    with raises("lower `learning_rate`, now 1e+300", NumericalError):
        fit(few, learning_rate=1e300)
    labels = np.zeros(len(x), int)
    with raises("unknown method 'rbm'"):
        classifiers.features_and_classifier(
            "rbm", x, labels, config=classifiers.RbmConfig()
        )
