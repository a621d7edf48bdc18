"""The resummed law against draws of exact kernels, with every option."""

import numpy as np
import pytest
from closeness import raises
from problems import prototypes
from resummed_cases import DEEP, ERF, KEY, ON_TEST, centred, check_against

import theory
from theory import (
    Additive,
    Architecture,
    ClippedAdditive,
    Replacement,
    Uniform,
    exact,
    resummed,
    surrogate,
)
from theory.corruption.noises import Bernoulli

SETTINGS = {
    # the programs of `clean` in test_law.py
    "erf additive": (ERF, Additive(p=0.9), "standardised", (20,) * 3),
    "more pixels": (DEEP, Additive(p=0.9), "standardised", (25,) * 4),
    "relu raw": (
        Architecture(depth=3, activation="relu"),
        Replacement(p=0.8, noise=Uniform(0.0, 1.0)),
        "unit",
        (40, 10, 30, 20),
    ),
    "missing class": (
        Architecture(depth=2, activation="erf", b_var=1.0),
        Replacement(p=0.7),
        "standardised",
        (60, 0, 10, 30),
    ),
    "relu bernoulli": (
        Architecture(depth=2, activation="relu", w_var=1.6, b_var=0.1),
        Replacement(p=0.9, noise=Bernoulli(0.5)),
        "unit",
        (25,) * 4,
    ),
    "clipped": (
        Architecture(depth=2, activation="gelu", b_rates=(1.0, 1.0)),
        ClippedAdditive(sigma=4.0),
        "unit",
        (50, 50),
    ),
}


@pytest.mark.parametrize(
    "setting",
    [
        # half a minute of compilation each
        pytest.param(
            setting,
            id=name,
            marks=[pytest.mark.slow] * (name != "erf additive"),
        )
        for name, setting in SETTINGS.items()
    ],
)
def test_mean_and_covariance_of_exact_kernels(setting):
    arch, noise, kind, counts = setting
    n_test, d = (30, 120) if counts == (20,) * 3 else (40, 400)
    problem = prototypes(counts, n_test=n_test, d=d, spread=1.5, seed=1, kind=kind)
    law = resummed(arch, noise, problem)
    assert law.diagnostics["valid"], law.diagnostics
    draws = exact(arch, noise, problem, draws=60, key=KEY)
    check_against(law, draws)
    np.testing.assert_allclose(
        np.asarray(law.init_var).mean(), np.asarray(draws.init_var).mean(), rtol=0.02
    )
    one = law.averaged(1).accuracy(problem.labels_test)
    error = 5 * draws.stderr(problem.labels_test, 1) + 0.01
    assert abs(one - draws.accuracy(problem.labels_test, 1)) < error


@pytest.mark.slow
@pytest.mark.parametrize(
    "counts", [(30,) * 10, (80, 10, 50, 20, 60, 30, 10, 20, 15, 5)]
)
def test_against_400_kernels(counts):
    problem = prototypes(counts, n_test=100, d=784, spread=1.5, seed=2)
    noise = Additive(p=0.9)
    law = resummed(DEEP, noise, problem)
    draws = exact(DEEP, noise, problem, draws=400, key=KEY)
    check_against(law, draws)


@pytest.mark.slow
@pytest.mark.parametrize("p", [1e-3, 0.05])
def test_little_corruption(small, p):
    law = resummed(ERF, Replacement(p=p), small)
    draws = exact(ERF, Replacement(p=p), small, draws=60, key=KEY)
    check_against(law, draws)


@pytest.mark.slow
def test_copies_are_seen_by_exact_kernels_too(small):
    noise = Replacement(p=0.8)
    law = resummed(ERF, noise, small, copies=3)
    draws = exact(ERF, noise, small, draws=60, key=KEY, copies=3)
    check_against(law, draws)
    np.testing.assert_allclose(
        np.asarray(law.init_var).mean(), np.asarray(draws.init_var).mean(), rtol=0.03
    )


@pytest.mark.parametrize("p", [pytest.param(0.0, marks=pytest.mark.slow), 0.8])
def test_corrupted_test_images(small, p):
    noise = Replacement(p=p)
    law = resummed(ERF, noise, small, test_corruption=ON_TEST)
    draws = exact(ERF, noise, small, draws=100, key=KEY, test_corruption=ON_TEST)
    check_against(law, draws)
    np.testing.assert_allclose(
        np.asarray(law.init_var).mean(), np.asarray(draws.init_var).mean(), rtol=0.03
    )


def test_ridge(small):
    noise = Replacement(p=0.8)
    law = resummed(ERF, noise, small, ridge=0.7)
    draws = exact(ERF, noise, small, draws=60, key=KEY, ridge=0.7)
    check_against(law, draws)


@pytest.mark.slow
@pytest.mark.parametrize("copies", [1, 2])
def test_training_time(small, copies):
    noise, time = Replacement(p=0.8), 0.3
    law = resummed(ERF, noise, small, time=time, copies=copies)
    assert law.diagnostics["valid"], law.diagnostics
    draws = exact(ERF, noise, small, draws=60, key=KEY, time=time, copies=copies)
    check_against(law, draws)
    end = resummed(ERF, noise, small, copies=copies, with_init_var=False)
    assert np.abs(law.mean - end.mean).mean() > 0.05
    points = np.arange(4)
    np.testing.assert_allclose(
        np.asarray(law.cross_cov(points, points))[points, points],
        law.cov[:4],
        rtol=1e-8,
    )
    with raises("`averaged` needs `init_var`"):
        law.averaged(1)
    with raises("`time` and `test_corruption` exclude each other"):
        theory.resummed_at(law, small.x_test, noise)
    with raises("surrogate needs a law"):
        surrogate(law, noise, small, draws=1, key=KEY)


@pytest.mark.parametrize(
    ("arch", "noise", "kind", "counts", "d"),
    [
        pytest.param(
            DEEP,
            Replacement(p=0.9),
            "standardised",
            (300,) * 4,
            60,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Architecture(depth=3, activation="relu"),
            Replacement(p=0.8, noise=Uniform(0.0, 1.0)),
            "unit",
            (200,) * 4,
            160,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["erf", "relu raw"],
)
def test_many_images_per_pixel(arch, noise, kind, counts, d):
    problem = prototypes(counts, n_test=200, d=d, spread=2.5, seed=1, kind=kind)
    law = resummed(arch, noise, problem)
    draws = exact(arch, noise, problem, draws=30, key=KEY)
    assert law.diagnostics["margin"] > 0.99
    check_against(law, draws)
    found, expected = centred(np.asarray(draws.outputs.mean((0, 1)))), centred(law.mean)
    line = (found * expected).sum() / (expected**2).sum()
    np.testing.assert_allclose(line, 1, atol=0.1)
    np.testing.assert_allclose(
        np.asarray(law.init_var).mean(), np.asarray(draws.init_var).mean(), rtol=0.02
    )


@pytest.mark.slow
def test_surrogate_averages_to_the_law_and_follows_the_kernel():
    problem = prototypes((40,) * 3, n_test=40, d=300, spread=1.5, seed=6)
    noise = Additive(p=0.8)
    law = resummed(DEEP, noise, problem)
    sample = surrogate(law, noise, problem, draws=200, key=KEY)
    check_against(law, sample)
    draws = exact(DEEP, noise, problem, draws=10, key=KEY, with_init_var=False)
    assert sample.draw_keys is not None
    found = theory.compare(
        theory.Draws(outputs=sample.outputs[:10], draw_keys=sample.draw_keys[:10]),
        draws,
        problem.labels_test,
    )
    assert found.common_draws
    assert found.agreement > 0.97
    # draw by draw the surrogate takes most of the kernel's fluctuation away
    rest = np.asarray(draws.outputs - sample.outputs[:10])
    assert rest.var(0).mean() < 0.1 * np.asarray(draws.outputs).var(0).mean()
