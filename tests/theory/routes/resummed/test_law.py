"""The resummed law at other test points, between points, in doubt, and refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises, within
from problems import erf_kernels, prototypes
from resummed_cases import DEEP, ERF, KEY, NOISE, ON_TEST

import theory
from theory import Additive, Architecture, Replacement, resummed, surrogate
from theory.corruption.noises import Bernoulli
from theory.regression import equivalent
from theory.routes.resummed import law as route

ONE = Bernoulli(prob=1.0)
EVERYONE = np.arange(30)


@pytest.fixture(scope="module")
def clean(small):
    """At clean test images."""
    return resummed(ERF, NOISE, small)


@pytest.fixture(scope="module")
def bare(small):
    """Without `init_var`, at the first few."""
    few = dataclasses.replace(
        small, x_test=small.x_test[:7], labels_test=small.labels_test[:7]
    )
    return resummed(ERF, NOISE, few, with_init_var=False)


@pytest.mark.slow
def test_corruption_of_test_images_that_is_none(small, clean):
    same = resummed(ERF, NOISE, small, test_corruption=Replacement(p=0.0))
    np.testing.assert_allclose(same.mean, clean.mean, atol=1e-10)
    np.testing.assert_allclose(same.cov, clean.cov, atol=1e-10)
    np.testing.assert_allclose(
        np.asarray(same.init_var), np.asarray(clean.init_var), rtol=1e-6
    )


def test_other_test_points_need_no_new_solution(small, clean, bare, monkeypatch):
    # points do not see each other, nor how many there are
    for name in ("mean", "cov"):
        expected = getattr(clean, name)[:7]
        np.testing.assert_allclose(
            getattr(bare, name), expected, rtol=0, atol=1e-9 * np.abs(expected).max()
        )
    other = dataclasses.replace(
        small, x_test=small.x_test[::-1] + 0.1, labels_test=small.labels_test[::-1]
    )
    noisy = resummed(ERF, NOISE, other, test_corruption=ON_TEST)
    monkeypatch.setattr(equivalent, "solve", None)
    for start in (clean, noisy.averaged(3)):
        for x, test, expected in (
            (small.x_test, None, clean),
            (small.x_test, Replacement(p=0.0), clean),
            (other.x_test, ON_TEST, noisy),
        ):
            found = theory.resummed_at(start, x, test)
            if start is not clean:
                expected = expected.averaged(3)
            np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-9)
            np.testing.assert_allclose(found.cov, expected.cov, rtol=1e-9)
            np.testing.assert_allclose(
                np.asarray(found.init_var), np.asarray(expected.init_var), rtol=1e-9
            )
            assert found.inits == expected.inits
            assert found.diagnostics == expected.diagnostics
            np.testing.assert_allclose(
                found.cross_cov(EVERYONE, EVERYONE),
                expected.cross_cov(EVERYONE, EVERYONE),
                rtol=1e-9,
            )
    # noise that always has one value moves the points and adds no variance
    blank = theory.resummed_at(clean, small.x_test, Replacement(p=1.0, noise=ONE))
    ones = theory.resummed_at(clean, jnp.ones_like(small.x_test))
    np.testing.assert_array_equal(blank.mean, ones.mean)
    # a doubt about test points is theirs alone
    doubt = "`init_var` is negative at some test points"
    other = {"valid": False, "doubts": ("too few pixels", doubt)}
    doubted = dataclasses.replace(clean, diagnostics=clean.diagnostics | other)
    found = theory.resummed_at(doubted, small.x_test)
    assert found.diagnostics["doubts"] == ("too few pixels",)
    assert not found.diagnostics["valid"]


def test_other_test_points_are_checked(small, bare):
    with raises("`x_test` must have as many pixels as the training images"):
        theory.resummed_at(bare, small.x_test[:, :-1])
    with raises("`test_corruption`: `p` must be a corruption level in [0, 1], got 2"):
        theory.resummed_at(bare, small.x_test, Replacement(p=2.0))
    other = theory.Draws(outputs=jnp.ones((2, 1, 30, 3))).law()
    with raises("`law` must be one that theory.resummed returned"):
        theory.resummed_at(other, small.x_test)
    with raises("is in no file, nor in laws of other routes. Call theory.resummed"):
        theory.resummed_at(dataclasses.replace(bare, solved=None), small.x_test)


@pytest.mark.slow
def test_covariances_between_points_hold_those_of_points(small):
    law = resummed(ERF, Replacement(p=0.8), small, test_corruption=Replacement(p=0.3))
    some = np.array([3, 7, 11])
    assert law.cross is not None
    cov = np.asarray(law.cross.cov(some, some))
    init = np.asarray(law.cross.init_cov(some, some))
    for i, point in enumerate(some):
        np.testing.assert_allclose(cov[i, i], law.cov[point], rtol=1e-9)
        np.testing.assert_allclose(
            init[i, i], np.asarray(law.init_var)[point], rtol=1e-6
        )


def test_initialisations_of_two_points(small, clean):
    assert clean.cross is not None
    predicted = np.asarray(clean.cross.init_cov(EVERYONE, EVERYONE))
    corrupt = jax.jit(lambda k: theory.corrupt(NOISE, KEY, k, small.x_train))
    x_test = np.asarray(small.x_test)
    prior = erf_kernels(x_test, x_test, 2)[0]

    def one(k):
        """(11) between points."""
        x = np.asarray(corrupt(k))
        nngp, ntk = erf_kernels(x, x, 2)
        test_nngp, test_ntk = erf_kernels(x_test, x, 2)
        smooth = np.linalg.solve(ntk, test_ntk.T)
        cross = test_nngp @ smooth
        return prior - cross - cross.T + smooth.T @ nngp @ smooth

    # to leading order in the 60 images
    slack = np.diagonal(predicted).mean() / 60
    within(np.stack([one(k) for k in range(30)]), predicted, slack=slack)


def test_a_sweep_of_the_level_compiles_once(small, clean):
    jax.config.update("jax_no_tracing", True)
    try:
        laws = [resummed(ERF, Replacement(p=p), small) for p in (0.6, 0.7)]
    finally:
        jax.config.update("jax_no_tracing", False)
    for law in laws:
        assert np.abs(np.asarray(law.mean) - np.asarray(clean.mean)).max() > 0.01


def test_what_it_cannot_say_is_flagged(small, bare, monkeypatch):
    assert bare.diagnostics["valid"]
    assert not bare.diagnostics["doubts"]
    with raises("`averaged` needs `init_var`"):
        bare.averaged(1)
    # of the training images alone: predictions need not be compiled
    law = bare.mean, bare.cov, bare.init_var, None
    monkeypatch.setattr(route, "predict", lambda *_: law)
    cos = Architecture(depth=2, activation="cos")
    law_of_cos = resummed(cos, NOISE, small, with_init_var=False)
    assert not law_of_cos.diagnostics["valid"]
    assert "the kernel is not linear in the noise" in law_of_cos.diagnostics["doubts"]
    few = prototypes((10, 10), n_test=10, d=4, seed=1)
    law_of_few = resummed(ERF, NOISE, few, with_init_var=False)
    assert "too few pixels" in law_of_few.diagnostics["doubts"]


@pytest.mark.slow
def test_many_images_with_little_noise_are_flagged():
    many = prototypes((200,) * 4, n_test=10, d=50, spread=2.5, seed=1)
    law = resummed(DEEP, Additive(p=0.5), many, with_init_var=False)
    assert not law.diagnostics["valid"]
    doubts = law.diagnostics["doubts"]
    assert "the mean kernel is nearly indefinite: too many images" in doubts


def test_a_negative_variance_is_flagged(small, clean, monkeypatch):
    right = route.predict

    def wrong(*args):
        mean, cov, init_var, kernel_cov = right(*args)
        assert init_var is not None
        return mean, cov, init_var.at[3].set(-1e-3), kernel_cov

    monkeypatch.setattr(route, "predict", wrong)
    assert clean.diagnostics["valid"]
    law = resummed(ERF, NOISE, small)
    assert law.diagnostics["doubts"] == ("`init_var` is negative at some test points",)
    assert not law.diagnostics["valid"]


def test_single_precision(small, clean):
    single = resummed(ERF, NOISE, small.astype(np.float32))
    assert single.mean.dtype == single.cov.dtype == np.float32
    np.testing.assert_allclose(single.mean, clean.mean, atol=1e-3)
    # a difference over a step of eps^(1/5) = .04
    np.testing.assert_allclose(
        np.asarray(single.init_var), np.asarray(clean.init_var), rtol=0.02
    )


def test_bad_arguments_are_refused(small):
    noise = Replacement(p=0.8)
    with raises("`landmarks` must be between 0 and n_train = 60, got 61"):
        resummed(ERF, noise, small, landmarks=61)
    with raises("`copies` must be an integer of at least 1, got 0"):
        resummed(ERF, noise, small, copies=0)
    with raises("`test_corruption`: `p` must be a corruption level in [0, 1], got 2"):
        resummed(ERF, noise, small, test_corruption=Replacement(p=2.0))
    with raises("`ridge` must be finite and not negative, got -1"):
        resummed(ERF, noise, small, ridge=-1.0)
    with raises("`time` must be positive and finite, got 0"):
        resummed(ERF, noise, small, time=0.0)
    with raises("`ridge` and `time` exclude each other"):
        resummed(ERF, noise, small, time=1.0, ridge=1.0)
    with raises("`time` and `test_corruption` exclude each other"):
        resummed(ERF, noise, small, time=1.0, test_corruption=noise)
    with raises("`time` needs corrupted training images"):
        resummed(ERF, Replacement(p=0.0), small, time=1.0)
    twins = dataclasses.replace(
        small, x_train=small.x_train.at[1].set(small.x_train[0])
    )
    with raises("training images 0 and 1 are identical", theory.NumericalError):
        resummed(ERF, Replacement(p=0.0), twins)
    other = theory.Draws(outputs=jnp.ones((2, 1, 30, 3))).law()
    with raises("`law` must be one that theory.resummed returned"):
        surrogate(other, noise, small, draws=1, key=KEY)
