"""When the gain is positive: the conditions, and what happens without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import prototypes

from theory import activations, first_order
from theory.corruption import Additive, Replacement
from theory.noises import Bernoulli, Uniform
from theory.perturbation import transfer
from theory.problem import Architecture
from theory.sign import gain_sign, sign_changes, slope_sign

CUBIC = activations.custom(lambda u: u - u**3 / 3, name="cubic")
VARIANCES = jnp.linspace(0.1, 4, 40)


def at(activation, depth, q_test, q_train, cov, **settings):
    numbers = (jnp.array([float(x)]) for x in (q_test, q_train, cov))
    arch = Architecture(depth=depth, activation=activation, **settings)
    return slope_sign(*numbers, arch)


def changing(activation, orders=16):
    found = np.asarray(sign_changes(activation, VARIANCES, orders=orders))
    assert found.shape == (orders,)
    return (np.flatnonzero(found) + 1).tolist()


@pytest.mark.parametrize(
    "activation",
    [
        *("erf", "tanh", "gelu", "softplus", "swish", "elu", "sigmoid", "sin", "cos"),
        *("relu", "leaky_relu", "exp", "gaussian", "identity"),
        activations.custom(jnp.abs, name="abs"),
    ],
    ids=lambda a: getattr(a, "name", a),
)
def test_coefficients_that_keep_their_signs(activation):
    assert changing(activation) == []
    assert changing(activation, orders=40) == []


def test_coefficients_that_do_not():
    assert changing(activations.custom(jax.nn.selu, name="selu")) == [2, 4, 6, 8]
    hardtanh = activations.custom(lambda u: jnp.clip(u, -1, 1), name="hardtanh")
    assert changing(hardtanh) == [5, 7, 9, 11, 13, 15]
    assert changing(CUBIC) == [1]


def test_a_coefficient_that_changes_its_sign():
    found = at(CUBIC, 2, 0.5, 1.5, 0.0)
    np.testing.assert_allclose(found.slope, -0.5, rtol=1e-12)
    assert (found.sign, found.guaranteed, found.layer, found.order) == (-1, False, 1, 1)
    np.testing.assert_allclose([found.q_train, found.q_test], [[1.5], [0.5]])
    assert not found.positive
    assert found.reason == (
        "gain positive at 0 of 1 points, zero at 0, negative at 1: not guaranteed at "
        "1, Hermite coefficient 1 of layer 1 changes its sign between variances 1.5 "
        "and 0.5 ... 0.5"
    )
    # the same test point at the variance of the noise
    assert at(CUBIC, 2, 1.5, 1.5, 0.0).guaranteed
    np.testing.assert_array_equal(at(CUBIC, 2, 1.5, 1.5, 0.0).sign, 1)


def test_a_deeper_coefficient_that_changes_its_sign():
    # E[phi^2] = q - 2 q^2 + (5/3) q^3 takes .5 and .2 to both sides of one
    found = at(CUBIC, 3, 0.2, 0.5, 0.0, w_var=6.0)
    assert (found.layer, found.order) == (2, 1)
    variances = [6 * (q - 2 * q**2 + 5 / 3 * q**3) for q in (0.5, 0.2)]
    np.testing.assert_allclose(
        [found.q_train[0], found.q_test[0]], variances, rtol=1e-12
    )


def test_negative_correlation():
    for depth, r, sign in ((2, -0.8, -1), (3, -0.8, 1), (3, -0.9, -1), (2, 0.8, 1)):
        found = at("relu", depth, 1.0, 1.0, r)
        assert found.sign == sign, (depth, r)
        assert found.guaranteed == (r > 0)
        if r < 0:
            assert (found.layer, found.order) == (1, -1)
            assert "covariance or kernel negative in layer 1" in found.reason


def test_even_activations_have_no_gain():
    for depth in (2, 3):
        found = at("cos", depth, 0.8, 1.0, 0.0)
        assert (found.sign, found.guaranteed, found.positive) == (0, True, False)
        assert "zero at 1" in found.reason
    assert at("cos", 3, 0.8, 1.0, 0.3).positive


def test_order_zero_counts_before_the_last_hidden_layer():
    # phi has mean exp(-q/2) - exp(-1/2): of opposite signs on both sides of q = 1
    fn = lambda u: 0.2 * jnp.sin(u) + jnp.cos(u) - np.exp(-0.5)
    shifted = activations.custom(fn, name="shifted cosine")
    assert changing(shifted) == []
    assert at(shifted, 2, 4.0, 0.2, 0.0).guaranteed
    found = at(shifted, 3, 4.0, 0.2, 0.0)
    assert (found.sign, found.layer, found.order) == (-1, 2, -1)
    # a variance of the biases above it
    assert at(shifted, 3, 4.0, 0.2, 0.3, b_var=0.3).guaranteed


@pytest.mark.parametrize("activation", ["erf", "tanh", "relu", "cos"])
def test_what_is_guaranteed_is_so(activation):
    rng = np.random.default_rng(0)
    q_test, q_train = rng.uniform(0.1, 4, size=(2, 400))
    cov = rng.uniform(-1, 1, size=400) * np.sqrt(q_test * q_train)
    numbers = [jnp.asarray(x) for x in (q_test, q_train, cov)]
    arch = Architecture(depth=3, activation=activation, w_var=1.3)
    found = slope_sign(*numbers, arch)
    guaranteed = np.asarray(found.guaranteed)
    assert 0 < guaranteed.sum() < 400
    np.testing.assert_array_equal(guaranteed, cov >= 0)
    assert (np.asarray(found.slope)[guaranteed] >= 0).all()
    np.testing.assert_allclose(found.slope, transfer(*numbers, arch).by_cov)
    assert (np.sign(found.slope) == found.sign).all()


@pytest.mark.parametrize("kind", [Replacement, Additive])
def test_gain_of_a_problem(kind):
    problem = prototypes((5, 5, 5), d=30, kind="unit")
    for activation, noise in (
        ("erf", Uniform(-(3**0.5), 3**0.5)),
        ("relu", Bernoulli(0.5)),
    ):
        arch = Architecture(depth=2, activation=activation, w_var=1.4, b_var=0.1)
        found = gain_sign(arch, kind(p=0.9, noise=noise), problem)
        gain = first_order(arch, kind(p=0.9, noise=noise), problem).gain[:, 0]
        np.testing.assert_allclose(gain / found.slope, gain[0] / found.slope[0])
        assert found.positive
        assert found.guaranteed.all()
        assert found.reason == (
            "gain positive at 7 of 7 points, zero at 0, negative at 0: covariances and "
            "Hermite coefficients keep their signs"
        )
    # test points of negative mean
    dark = prototypes((5, 5, 5), d=30, kind="raw")
    found = gain_sign(
        Architecture(depth=2, activation="cos"), kind(p=0.9, noise=Bernoulli()), dark
    )
    negative = np.asarray(dark.x_test.mean(axis=1) < 0)
    np.testing.assert_array_equal(found.guaranteed, ~negative)
    assert not found.positive
    failure = f"not guaranteed at {negative.sum()}, covariance or kernel negative in"
    assert found.reason.endswith(f"{failure} layer 1")


def test_a_black_image():
    found = at("relu", 2, 0.0, 1.0, 0.0)
    assert (found.sign, found.guaranteed) == (1, True)
