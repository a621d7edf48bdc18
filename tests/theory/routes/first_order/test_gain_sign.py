"""When the gain is positive: the conditions, and what happens without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from problems import prototypes

from theory import first_order
from theory.activations import registry
from theory.corruption.corruptions import Additive, Replacement
from theory.corruption.noises import Bernoulli, Normal, Uniform
from theory.kernels.architecture import Architecture
from theory.kernels.slopes import transfer
from theory.routes.exact.direct import exact
from theory.routes.first_order.class_means import class_mean_scores
from theory.routes.first_order.gain_sign import gain_sign, sign_changes, slope_sign

CUBIC = registry.custom(lambda u: u - u**3 / 3, name="cubic")
VARIANCES = jnp.linspace(0.1, 4, 40)
# Of a mean by quadrature with some 256 nodes, over its terms: moments of CUBIC up to
# E[u^4] = 7.
ROUNDING = 8 * 256 * np.finfo(float).eps
# Points of a call: as many as `prototypes` has, for one program per architecture.
SIZE = 7


def signs_at(arch, *numbers):
    """`slope_sign` of any number of points, in calls of one size."""
    n = len(numbers[0])
    columns = [np.resize(x, -(-n // SIZE) * SIZE).reshape(-1, SIZE) for x in numbers]
    found = [
        slope_sign(*map(jnp.asarray, part), arch) for part in zip(*columns, strict=True)
    ]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:n], *found)


def at(activation, depth, q_test, q_train, cov, **settings):
    arch = Architecture(depth=depth, activation=activation, **settings)
    return signs_at(arch, *np.array([[q_test], [q_train], [cov]], float))


def changing(activation, orders=16):
    found = np.asarray(sign_changes(activation, VARIANCES, orders=orders))
    assert found.shape == (orders,)
    return (np.flatnonzero(found) + 1).tolist()


@pytest.mark.parametrize(
    "activation",
    [
        *("erf", "tanh", "gelu", "softplus", "swish", "elu", "sigmoid", "sin", "cos"),
        *("relu", "leaky_relu", "exp", "gaussian", "identity"),
        registry.custom(jnp.abs, name="abs"),
    ],
    ids=lambda a: getattr(a, "name", a),
)
def test_coefficients_that_keep_their_signs(activation):
    assert changing(activation, orders=40) == []


def test_coefficients_that_do_not():
    assert changing(registry.custom(jax.nn.selu, name="selu")) == [2, 4, 6, 8]
    hardtanh = registry.custom(lambda u: jnp.clip(u, -1, 1), name="hardtanh")
    assert changing(hardtanh) == [5, 7, 9, 11, 13, 15]
    assert changing(CUBIC) == [1]


def test_a_coefficient_that_changes_its_sign():
    found = at(CUBIC, 2, 0.5, 1.5, 0.0)
    np.testing.assert_allclose(found.slope, -0.5, rtol=0, atol=ROUNDING)
    assert (found.sign, found.guaranteed, found.layer, found.order) == (-1, False, 1, 1)
    np.testing.assert_allclose([found.q_train, found.q_test], [[1.5], [0.5]])
    assert not found.positive
    assert found.reason == (
        "gain positive at 0 of 1 points, zero at 0, negative at 1: not guaranteed at "
        "1, Hermite coefficient 1 of layer 1 changes its sign between variances 1.5 "
        "and 0.5 ... 0.5"
    )
    # the same test point at the variance of the noise
    found = at(CUBIC, 2, 1.5, 1.5, 0.0)
    assert (found.sign, found.guaranteed) == (1, True)


@pytest.mark.slow  # what the sign is, is tested always
def test_where_the_gain_is_negative_kernels_decide_against_the_class_mean():
    # E phi' = e^{-q/2} - 3 e^{-9q/2} has opposite signs at .8 (noise) and .1 (images)
    problem = prototypes((12, 12, 12), n_test=30, d=900, spread=0.7, seed=2)
    corruption = Additive(p=0.9, noise=Normal(0.0, 8**0.5))
    rule = np.asarray(class_mean_scores(problem).argmax(axis=1))
    agree = {}
    for activation in ("erf", "sin_less_sin3"):
        arch = Architecture(depth=2, activation=activation, w_var=0.1)
        gain = gain_sign(arch, corruption, problem)
        draws = exact(arch, corruption, problem, draws=6, key=jax.random.key(3))
        agree[activation] = float((np.asarray(draws.decisions()) == rule).mean())
        assert (gain.sign == (1 if activation == "erf" else -1)).all()
    # chance is 1/3, with an error of .09 of thirty points
    assert agree["erf"] > 0.7
    assert agree["sin_less_sin3"] < 0.1


def test_a_deeper_coefficient_that_changes_its_sign():
    # E[phi^2] = q - 2 q^2 + (5/3) q^3 takes .5 and .2 to both sides of one
    found = at(CUBIC, 3, 0.2, 0.5, 0.0, w_var=6.0)
    assert (found.layer, found.order) == (2, 1)
    variances = [6 * (q - 2 * q**2 + 5 / 3 * q**3) for q in (0.5, 0.2)]
    np.testing.assert_allclose(
        [found.q_train[0], found.q_test[0]], variances, rtol=ROUNDING
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
    shifted = registry.custom(fn, name="shifted cosine")
    assert changing(shifted) == []
    assert at(shifted, 2, 4.0, 0.2, 0.0).guaranteed
    found = at(shifted, 3, 4.0, 0.2, 0.0)
    assert (found.sign, found.layer, found.order) == (-1, 2, -1)
    # a variance of the biases above it
    assert at(shifted, 3, 4.0, 0.2, 0.3, b_var=0.3).guaranteed


@pytest.mark.parametrize("activation", ["erf", "tanh", "relu", "cos"])
def test_what_is_guaranteed_is_so(activation):
    rng, n = np.random.default_rng(0), 20 * SIZE
    q_test, q_train = rng.uniform(0.1, 4, size=(2, n))
    cov = rng.uniform(-1, 1, size=n) * np.sqrt(q_test * q_train)
    arch = Architecture(depth=3, activation=activation, w_var=1.3)
    found = signs_at(arch, q_test, q_train, cov)
    assert 0 < found.guaranteed.sum() < n
    np.testing.assert_array_equal(found.guaranteed, cov >= 0)
    assert (found.slope[found.guaranteed] >= 0).all()
    slope = jax.jit(transfer)(*(x[:SIZE] for x in (q_test, q_train, cov)), arch).by_cov
    assert_close(found.slope[:SIZE], slope)
    assert (np.sign(found.slope) == found.sign).all()


@pytest.mark.parametrize("kind", [Replacement, Additive])
def test_gain_of_a_problem(kind):
    problem = prototypes((5, 5, 5), d=30, kind="unit")
    for activation, noise, compared in (
        ("erf", Uniform(-(3**0.5), 3**0.5), Replacement),
        ("relu", Bernoulli(0.5), Additive),
    ):
        arch = Architecture(depth=2, activation=activation, w_var=1.4, b_var=0.1)
        found = gain_sign(arch, kind(p=0.9, noise=noise), problem)
        if kind is compared:
            gain = first_order(arch, kind(p=0.9, noise=noise), problem).gain[:, 0]
            ratio = np.asarray(gain) / np.asarray(found.slope)
            np.testing.assert_allclose(ratio, ratio[0])
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
