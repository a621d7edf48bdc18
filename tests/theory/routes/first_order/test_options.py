"""Copies, corrupted test points and many images in few pixels, against simulation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises, within
from problems import prototypes

from theory import exact, first_order
from theory.corruption.corruptions import Additive, ClippedAdditive, Replacement
from theory.corruption.noises import Bernoulli, Normal, Rademacher, Uniform
from theory.kernels.architecture import Architecture
from theory.routes.first_order.dressing import dressing

# Sums of at most n d = 1320 products, of numbers of order one.
ROUNDING = 1320 * np.finfo(float).eps


def contrasts(outputs):
    """What decisions see: outputs less their mean over the classes."""
    outputs = np.asarray(outputs)
    return outputs - outputs.mean(axis=-1, keepdims=True)


def tiled(problem, copies):
    return dataclasses.replace(
        problem,
        x_train=jnp.tile(problem.x_train, (copies, 1)),
        labels_train=jnp.tile(problem.labels_train, copies),
    )


# --- copies -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "isotropic"), [(Replacement, False), (Additive, True)]
)
def test_copies_are_rows_of_their_own(kind, isotropic):
    problem = prototypes((5, 2, 4), d=30, kind="raw")
    arch = Architecture(depth=2, activation="erf", w_var=1.4, b_var=0.1)
    noise = kind(p=0.9, noise=Bernoulli(0.3))
    test = Additive(p=0.3, noise=Normal(0.2, 0.5))

    def law(problem, copies=1):
        return first_order(
            arch,
            noise,
            problem,
            copies=copies,
            test_corruption=test,
            isotropic=isotropic,
        )

    got, expected, once = law(problem, 3), law(tiled(problem, 3)), law(problem)
    for name in ("mean", "cov", "gain", "offset", "noise_std"):
        one, two = getattr(got, name), getattr(expected, name)
        rounding = ROUNDING * np.abs(two).max()
        np.testing.assert_allclose(one, two, rtol=0, atol=rounding)
        assert not np.allclose(one, getattr(once, name), rtol=0.01)


@pytest.mark.slow
def test_two_copies_against_draws():
    problem = prototypes((10, 10, 10), n_test=30, d=600, spread=2.0, seed=5)
    arch, noise = Architecture(depth=2, activation="erf"), Replacement(p=0.95)
    law = first_order(arch, noise, problem, copies=2)
    draws = exact(arch, noise, tiled(problem, 2), draws=40, key=jax.random.key(0)).law()
    mean, measured = contrasts(law.mean), contrasts(draws.mean)
    slope = (mean * measured).sum() / (mean**2).sum()
    np.testing.assert_allclose(slope, 1, atol=0.15)  # N/d = .1; one copy: 0.5
    ratio = (draws.gap_variance() / law.gap_variance()).mean()
    np.testing.assert_allclose(ratio, 1, atol=0.15)


def test_many_copies_are_fresh_noise():
    # the constant part saturates: no output changes when copies are doubled again
    problem = prototypes((5, 5, 5, 5), d=30)
    arch = Architecture(depth=2, activation="erf", b_var=0.2)
    noise = Replacement(p=1.0, noise=Bernoulli(0.5))
    one, two = (
        first_order(arch, noise, problem, copies=c).mean for c in (10**6, 2 * 10**6)
    )
    np.testing.assert_allclose(one, two, rtol=1e-5)


# --- test corruption --------------------------------------------------------------

TESTS = {
    "relu-additive": (
        Architecture(depth=2, activation="relu", w_var=1.4, b_var=0.1),
        Replacement(p=0.9, noise=Bernoulli(0.5)),
        Additive(p=0.6, noise=Normal(0.3, 1.0)),
    ),
    "erf-replacement": (
        Architecture(depth=2, activation="erf", w_var=1.4),
        Additive(p=0.8, noise=Uniform(-(3**0.5), 3**0.5)),
        Replacement(p=0.5, noise=Bernoulli(0.2)),
    ),
    "erf-rademacher": (
        Architecture(depth=2, activation="erf", b_rates=(1.0, 0.5)),
        Replacement(p=0.7, noise=Rademacher()),
        Replacement(p=0.8, noise=Rademacher(1.5)),
    ),
}


@pytest.mark.parametrize(
    ("name", "isotropic"),
    [("relu-additive", False), ("erf-replacement", False), ("erf-rademacher", True)],
)
def test_law_over_test_noise_is_the_total_law(name, isotropic):
    # mean and covariance over sampled test noise of the law at clean points; what is
    # left out is of relative order 1/d
    arch, noise, test = TESTS[name]
    problem = prototypes((7, 3, 5), n_test=2, d=600, seed=4, kind="raw")
    law = first_order(arch, noise, problem, test_corruption=test, isotropic=isotropic)
    n, draws = 2, 2000
    many = test.apply(jax.random.key(0), jnp.tile(problem.x_test, (draws, 1)))
    sampled = first_order(
        arch,
        noise,
        dataclasses.replace(
            problem,
            # and the clean points, last
            x_test=jnp.concatenate([many, problem.x_test]),
            labels_test=jnp.tile(problem.labels_test, draws + 1),
        ),
        isotropic=isotropic,
    )
    mean, cov = np.asarray(law.mean), np.asarray(law.cov)
    means = np.asarray(sampled.mean)[:-n].reshape(draws, n, 3)
    covs, clean = np.split(np.asarray(sampled.cov), [draws * n])
    within(means, mean, slack=2e-3 * np.abs(mean).max())
    around = means - mean
    products = around[..., :, None] * around[..., None, :]
    total = products + covs.reshape(draws, n, 3, 3)
    within(total, cov, slack=0.01 * np.abs(cov).max())
    # and test noise is a good part of it
    assert not np.allclose(cov, clean, rtol=0.2)
    assert products.mean() > 0.05 * cov.mean()


def test_corrupted_test_points_against_exact_kernels():
    arch, noise, test = TESTS["relu-additive"]
    noise = dataclasses.replace(noise, p=0.995)
    problem = prototypes((8, 8, 8), n_test=4, d=1500, seed=4, kind="raw")
    law = first_order(arch, noise, problem, test_corruption=test)
    copies, draws = 60, 40
    many = dataclasses.replace(
        problem,
        x_test=test.apply(jax.random.key(1), jnp.tile(problem.x_test, (copies, 1))),
        labels_test=jnp.tile(problem.labels_test, copies),
    )
    outputs = np.asarray(
        exact(
            arch, noise, many, draws=draws, key=jax.random.key(0), with_init_var=False
        ).outputs
    ).reshape(draws, copies, 4, 3)
    # of an output of one: eps^2 and 1/d, beside the draws
    within(outputs.mean(axis=1), law.mean, slack=2e-3)
    around, cov = outputs - outputs.mean(axis=(0, 1)), np.asarray(law.cov)
    measured = np.einsum("krni,krnj->knij", around, around) / copies
    ratio = (measured * cov).sum(axis=(1, 2, 3)) / (cov**2).sum()
    within(ratio, 1, slack=0.02)
    own = np.trace(np.asarray(law.cross.own).sum(0)) / np.trace(cov.sum(0))
    assert own > 0.3  # test noise is a good part of it


def test_test_noise_is_not_shared_between_points():
    arch, noise, test = TESTS["erf-replacement"]
    problem = prototypes((7, 3, 5), n_test=3, d=40, kind="raw")
    law = first_order(arch, noise, problem, test_corruption=test)
    index = np.arange(3)
    cross = np.asarray(law.cross.cov(index, index))
    rounding = ROUNDING * np.abs(cross).max()
    np.testing.assert_allclose(cross[index, index], law.cov, rtol=0, atol=rounding)
    # between points, that of their mean images at their own variances: linear in one
    # of two pixel means, and test noise of one point alone adds nothing
    weights = np.asarray(law.cross.weights)
    mean = np.asarray(test.moments(problem.x_test).mean)
    steps = np.diff(weights, axis=1) / np.diff(mean, axis=1)
    # the worst step between two neighbours loses this much
    lost = np.abs(weights).max() / np.abs(np.diff(weights, axis=1)).min()
    np.testing.assert_allclose(
        steps, steps[:, :1] * np.ones((1, 39)), rtol=ROUNDING * lost
    )
    without = dataclasses.replace(law.cross, own=None)
    apart = np.asarray(without.cov(index, index))
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(cross[off], apart[off], rtol=0, atol=rounding)
    assert np.trace(cross[0, 0]) > 1.1 * np.trace(apart[0, 0])


def test_no_test_noise_is_no_option():
    arch, noise, test = TESTS["erf-replacement"]
    problem = prototypes((7, 3, 5), n_test=3, d=40, kind="raw")
    clean = first_order(arch, noise, problem)
    still = first_order(
        arch, noise, problem, test_corruption=dataclasses.replace(test, p=0.0)
    )
    for name in ("mean", "cov", "gain", "offset", "noise_std"):
        one, two = getattr(still, name), np.asarray(getattr(clean, name))
        rounding = ROUNDING * np.abs(two).max()
        np.testing.assert_allclose(one, two, rtol=0, atol=rounding)


def test_options_are_checked():
    arch, noise, _ = TESTS["erf-replacement"]
    problem = prototypes((7, 3, 5), d=40, kind="raw")
    for copies in (0, -2, True):
        with raises("`copies` must be an integer"):
            first_order(arch, noise, problem, copies=copies)
    with raises("ClippedAdditive needs pixels in [0, 1]"):
        first_order(arch, noise, problem, test_corruption=ClippedAdditive(sigma=0.3))
    with raises("`p` must be a corruption level in [0, 1], got 2.0"):
        first_order(arch, noise, problem, test_corruption=Additive(p=2.0))
    with raises("`ridge` must be finite and not negative, got -1"):
        first_order(arch, noise, problem, ridge=-1.0)


# --- many images, few pixels ------------------------------------------------------


dressing_jit = jax.jit(dressing)


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("rest", [0.05, 1.0, 6.0])
def test_dressing_is_that_of_a_wishart_matrix(ratio, rest):
    # kernel rest I + spread A, A = Z Z^T/d; N and d large: one draw
    d, spread = 300, 1.7
    n, kap = int(ratio * d), rest + spread
    got = dressing_jit(kap, spread, ratio)
    z = np.random.default_rng(0).normal(size=(n, d))
    few = z if n < d else z.T
    values = np.linalg.eigvalsh(few @ few.T / d)
    values = np.concatenate([np.zeros(n - len(values)), values])
    inverse = 1 / (rest + spread * values)
    np.testing.assert_allclose(1 / got.kap, inverse.mean(), rtol=0.02)
    # trace over pixels of rest (rest + spread A')^{-1}: the other eigenvalues vanish
    slope = (rest * inverse.sum() + d - n) / d
    np.testing.assert_allclose(got.slope, slope, rtol=0.02, atol=0.001)
    noise = (spread * values * inverse**2).mean()
    signal = spread * slope**2 * inverse.mean() ** 2
    np.testing.assert_allclose(got.chi, signal / noise, rtol=0.03, atol=0.03)
    # and the form in which the literature gives it
    lam = rest / spread
    b = 1 - lam - ratio
    m = (b + np.sqrt(b**2 + 4 * lam)) / 2
    np.testing.assert_allclose(got.chi, 1 - ratio * m**2 / (lam + m) ** 2, rtol=1e-10)


def test_dressing_at_its_limits():
    few = dressing_jit(3.0, 1.0, 1e-9)
    np.testing.assert_allclose([few.chi, few.slope, few.kap], [1, 1, 3], rtol=1e-8)
    # no linear part: an even activation
    none = dressing_jit(3.0, 0.0, 2.0)
    np.testing.assert_allclose([none.chi, none.slope, none.kap], [1, 1, 3], rtol=1e-12)
    # nothing but the linear part: as many vanishing eigenvalues as there are to spare
    all_ = dressing_jit(1.0, 1.0, 0.4)
    np.testing.assert_allclose([all_.chi, all_.slope], [0.6, 0.6], rtol=1e-12)


@pytest.mark.parametrize(
    ("arch", "counts", "ridge"),
    [
        (
            Architecture(depth=2, activation="erf", b_rates=(1.0, 0.5)),
            (40, 10, 25, 25),
            0.0,
        ),
        (
            Architecture(depth=2, activation="erf", b_rates=(1.0, 0.5)),
            (25, 25, 25, 25),
            0.6,
        ),
        *(
            pytest.param(
                Architecture(depth=depth, activation="erf"),
                (25, 25, 25, 25),
                0.0,
                marks=pytest.mark.slow,
            )
            for depth in (2, 3)
        ),
    ],
    ids=["biases", "ridge", "balanced", "deep"],
)
def test_isotropic_law_against_exact_kernels(arch, counts, ridge):
    problem = prototypes(counts, n_test=60, d=125, spread=0.6, seed=5)
    noise, draws = Replacement(p=0.97), 250
    found = exact(
        arch,
        noise,
        problem,
        draws=draws,
        key=jax.random.key(0),
        ridge=ridge,
        with_init_var=False,
    )
    outputs = contrasts(found.outputs[:, 0])
    around = outputs - outputs.mean(axis=0)
    measured = (around**2).sum(axis=2) * draws / (draws - 1)

    def compared(law):
        """Slope of the outputs of every draw in those of the law, and its variance."""
        mean, gap = contrasts(law.mean), np.asarray(law.gap_variance())
        slopes = (outputs * mean).sum(axis=(1, 2)) / (mean**2).sum()
        return slopes, (measured / gap).mean(axis=1)

    plain, kept = (
        first_order(arch, noise, problem, ridge=ridge, isotropic=i)
        for i in (False, True)
    )
    slopes, ratios = compared(kept)
    within(slopes, 1.0, slack=0.02)
    within(ratios, 1.0, slack=0.05)  # 1/d and eps
    # without: the loss of signal to noise is chi
    slopes, ratios = compared(plain)
    chi = kept.diagnostics["chi"]
    assert chi < 0.9
    relative = [v.std(ddof=1) / draws**0.5 / v.mean() for v in (slopes, ratios)]
    np.testing.assert_allclose(
        slopes.mean() ** 2 / ratios.mean() / chi,
        1,
        atol=5 * np.hypot(2 * relative[0], relative[1]) + 0.05,
    )
    np.testing.assert_allclose(plain.diagnostics["chi"], 1)


def test_isotropic_changes_nothing_for_few_images():
    problem = prototypes((2, 1, 2), n_test=5, d=20_000)
    arch = Architecture(depth=2, activation="erf")
    plain, kept = (
        first_order(arch, Replacement(p=0.99), problem, isotropic=i)
        for i in (False, True)
    )
    np.testing.assert_allclose(kept.mean, plain.mean, rtol=2e-3)
    np.testing.assert_allclose(kept.noise_std, plain.noise_std, rtol=2e-3)
