"""The resummed law against exact kernels, its surrogate, and its limits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import check_sample, raises, within
from problems import erf_kernels, prototypes

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
from theory.regression import equivalent
from theory.routes.resummed import law as route

KEY = jax.random.key(1)
# Every other architecture, shape or option compiles all of the route anew.
ERF = Architecture(depth=2, activation="erf")
DEEP = Architecture(depth=3, activation="erf")
NOISE, ON_TEST = Replacement(p=0.8), Replacement(p=0.3)
ONE = Bernoulli(prob=1.0)
EVERYONE = np.arange(30)


def centred(outputs):
    return outputs - outputs.mean(axis=-1, keepdims=True)


def check_against(law, draws):
    """Mean, variances and covariances of draws are those of the law."""
    points = np.arange(len(law.mean))
    check_sample(draws.outputs[:, 0], law.mean, law.cross_cov(points, points))


SETTINGS = {
    # the programs of `clean`
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
        law.init_var.mean(), np.asarray(draws.init_var).mean(), rtol=0.02
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


@pytest.fixture(scope="module")
def small():
    return prototypes((20, 20, 20), n_test=30, d=120, spread=1.5, seed=3)


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


def test_without_corruption_it_is_the_exact_kernel(small):
    law = resummed(ERF, Replacement(p=0.0), small)
    draws = exact(ERF, Replacement(p=0.0), small, draws=1, key=KEY)
    np.testing.assert_allclose(law.mean, draws.outputs[0, 0], atol=1e-10)
    np.testing.assert_allclose(law.cov, 0, atol=1e-14)
    np.testing.assert_allclose(law.init_var, np.asarray(draws.init_var)[0], rtol=1e-4)
    assert law.diagnostics["level"] == "noiseless"


@pytest.mark.slow
def test_neighbouring_regressions_start_from_the_first_and_end_where_they_would():
    law = resummed(DEEP, Additive(p=0.9), prototypes((25,) * 4))
    solved = law.solved
    assert solved is not None
    for side in solved.sides:
        cold = equivalent.solve(side.solution.rows)
        assert side.solution.steps < solved.centre.solution.steps == cold.steps
        for name in ("tau", "omega"):
            found, expected = (float(getattr(of, name)) for of in (side.solution, cold))
            # the last steps of both are below 1e4 roundings
            rounding = 2e4 * np.finfo(float).eps
            np.testing.assert_allclose(found, expected, rtol=rounding)


def test_copies_without_corruption_coincide(small):
    law = resummed(ERF, Replacement(p=0.0), small, copies=3, ridge=0.6)
    # the kernel of all rows, each three times
    x_train, x_test = np.tile(small.x_train, (3, 1)), np.asarray(small.x_test)
    nngp, ntk = erf_kernels(x_train, x_train, 2)
    test_nngp, test_ntk = erf_kernels(x_test, x_train, 2)
    smooth = np.linalg.solve(ntk + 0.6 * np.eye(180), test_ntk.T)
    # 180 images of a condition number of 100 or so
    mean = smooth.T @ np.tile(small.y, (3, 1))
    np.testing.assert_allclose(law.mean, mean, atol=1e-10)
    prior = np.diagonal(erf_kernels(x_test, x_test, 2)[0])
    init_var = prior + (smooth * (nngp @ smooth - 2 * test_nngp.T)).sum(axis=0)
    # of a difference in s, whose error is the square of a step of 7e-4
    np.testing.assert_allclose(law.init_var, init_var, rtol=1e-4)


@pytest.mark.slow
def test_corruption_of_test_images_that_is_none(small, clean):
    same = resummed(ERF, NOISE, small, test_corruption=Replacement(p=0.0))
    np.testing.assert_allclose(same.mean, clean.mean, atol=1e-10)
    np.testing.assert_allclose(same.cov, clean.cov, atol=1e-10)
    np.testing.assert_allclose(same.init_var, clean.init_var, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("p", [1e-3, 0.05])
def test_little_corruption(small, p):
    law = resummed(ERF, Replacement(p=p), small)
    draws = exact(ERF, Replacement(p=p), small, draws=60, key=KEY)
    check_against(law, draws)


@pytest.mark.slow
def test_pure_noise_tells_no_images_apart(small):
    for kind in (Replacement, Additive):
        law = resummed(ERF, kind(p=1.0), small)
        np.testing.assert_allclose(law.mean, law.mean[:1].repeat(30, 0), atol=1e-12)
        chance = law.accuracy(small.labels_test)
        np.testing.assert_allclose(chance, 1 / 3, atol=1e-3)


@pytest.mark.slow
def test_first_order_is_its_limit():
    # few images in many dimensions, little signal
    problem = prototypes((2, 2, 2), n_test=20, d=600, spread=1.0, seed=4)
    noise = Replacement(p=0.99)
    law, first = (
        resummed(DEEP, noise, problem),
        theory.first_order(DEEP, noise, problem),
    )
    gap = np.abs(centred(law.mean) - centred(first.mean)).max()
    # N/d and eps are .01
    assert gap < 0.01 * np.abs(centred(first.mean)).max()
    np.testing.assert_allclose(law.gap_variance(), first.gap_variance(), rtol=0.02)


@pytest.mark.slow
def test_copies_are_seen_by_exact_kernels_too(small):
    noise = Replacement(p=0.8)
    law = resummed(ERF, noise, small, copies=3)
    draws = exact(ERF, noise, small, draws=60, key=KEY, copies=3)
    check_against(law, draws)
    np.testing.assert_allclose(
        law.init_var.mean(), np.asarray(draws.init_var).mean(), rtol=0.03
    )


@pytest.mark.parametrize("p", [pytest.param(0.0, marks=pytest.mark.slow), 0.8])
def test_corrupted_test_images(small, p):
    noise = Replacement(p=p)
    law = resummed(ERF, noise, small, test_corruption=ON_TEST)
    draws = exact(ERF, noise, small, draws=100, key=KEY, test_corruption=ON_TEST)
    check_against(law, draws)
    np.testing.assert_allclose(
        law.init_var.mean(), np.asarray(draws.init_var).mean(), rtol=0.03
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
            np.testing.assert_allclose(found.init_var, expected.init_var, rtol=1e-9)
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
    with raises("`law` must hold the solved training, and files do not"):
        theory.resummed_at(dataclasses.replace(bare, solved=None), small.x_test)


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


@pytest.mark.slow
def test_covariances_between_points_hold_those_of_points(small):
    law = resummed(ERF, Replacement(p=0.8), small, test_corruption=Replacement(p=0.3))
    some = np.array([3, 7, 11])
    assert law.cross is not None
    cov = np.asarray(law.cross.cov(some, some))
    init = np.asarray(law.cross.init_cov(some, some))
    for i, point in enumerate(some):
        np.testing.assert_allclose(cov[i, i], law.cov[point], rtol=1e-9)
        np.testing.assert_allclose(init[i, i], law.init_var[point], rtol=1e-6)


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
        law.init_var.mean(), np.asarray(draws.init_var).mean(), rtol=0.02
    )


@pytest.mark.slow
def test_fewer_landmarks_come_close():
    problem = prototypes((50,) * 4, n_test=60, d=200, spread=1.5, seed=5)
    arch = Architecture(depth=3, activation="relu")
    noise = Additive(p=0.5)
    full = resummed(arch, noise, problem, landmarks=200)
    scale = np.sqrt(full.gap_variance().mean())
    gaps = []
    for landmarks in (0, 120):
        law = resummed(arch, noise, problem, landmarks=landmarks)
        gaps.append(float(np.abs(law.mean - full.mean).mean() / scale))
    assert gaps[1] < min(0.05, gaps[0] / 2), gaps


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
    law = bare.mean, bare.cov, bare.init_var
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
        mean, cov, init_var = right(*args)
        return mean, cov, init_var.at[3].set(-1e-3)

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
    np.testing.assert_allclose(single.init_var, clean.init_var, rtol=0.02)


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
