"""The accuracy integral against sampling, and its exact special cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from theory.accuracy import win_probability

# laws whose differences share one common variance, plus a little
NEAR_ONE_FACTOR = {
    "iid": lambda rng, c: np.eye(c),
    "common": lambda rng, c: np.eye(c) + 9.0,
    "equal_loadings": lambda rng, c: 0.05 * np.eye(c) + 0.95,
    "unequal": lambda rng, c: np.diag(np.exp(0.5 * rng.normal(size=c))),
    "one_noisy": lambda rng, c: np.diag(np.r_[4.0, np.ones(c - 1)]),
    "estimated": lambda rng, c: wishart(rng, c, 40 * c),
    "unbalanced": lambda rng, c: unbalanced(rng, c),
}
# where correlations of the differences are strong and of no pattern
FAR = {"few_draws": lambda rng, c: wishart(rng, c, 2 * c)}


def wishart(rng, c, freedom):
    a = rng.normal(size=(c, freedom))
    return a @ a.T / freedom


def unbalanced(rng, c):
    """Class sizes that differ by half, as the first-order law has it."""
    share = rng.uniform(0.75, 1.25, size=c) / c
    return c * (np.diag(share) + 0.5 * np.outer(share, share))


def laws(kinds, c, per_kind=2):
    """(mean, cov, label) of `per_kind` random laws of every kind."""
    rng = np.random.default_rng(c)
    for name, make in kinds.items():
        for i in range(per_kind):
            cov = make(rng, c)
            mean = rng.normal(size=c) * (0.4, 1.0)[i % 2]
            # a likely winner and an unlikely one
            label = int(mean.argmax() if i % 2 else np.argsort(mean)[c // 2])
            yield name, mean, cov, label


def sampled(cases, c, samples, block=50_000):
    """Frequencies with which the labels win, from common random numbers."""
    rng = np.random.default_rng(1)
    roots = [np.linalg.cholesky(cov + 1e-12 * np.eye(c)) for _, _, cov, _ in cases]
    roots = [root.T.astype(np.float32) for root in roots]
    wins = np.zeros(len(cases))
    for _ in range(samples // block):
        z = rng.standard_normal((block, c), np.float32)
        for i, ((_, mean, _, label), root) in enumerate(zip(cases, roots, strict=True)):
            outputs = z @ root + mean.astype(np.float32)
            wins[i] += (outputs.argmax(axis=1) == label).sum()
    p = wins / samples
    return p, np.sqrt(np.maximum(p * (1 - p), 1 / samples) / samples)


def integral(cases):
    mean, cov, labels = (
        jnp.asarray(np.stack([case[i] for case in cases])) for i in (1, 2, 3)
    )
    return np.asarray(win_probability(mean, cov, labels))


def compare_with_sampling(kinds, c, samples, allowed, per_kind=2):
    cases = list(laws(kinds, c, per_kind))
    p, stderr = sampled(cases, c, samples)
    difference = np.abs(integral(cases) - p)
    assert ((p > 0.003) & (p < 0.997)).mean() >= 0.5  # the cases say something
    late = [
        f"{name}: {gap:.2g}"
        for (name, *_), gap, limit in zip(
            cases, difference, allowed + 5 * stderr, strict=True
        )
        if gap > limit
    ]
    assert not late


@pytest.mark.parametrize("c", [2, 10])
def test_integral_against_sampling(c):
    compare_with_sampling(NEAR_ONE_FACTOR, c, 10**6, 1e-3)


@pytest.mark.parametrize(
    "samples", [10**5, pytest.param(10**6, marks=pytest.mark.slow)]
)
def test_integral_against_sampling_at_a_hundred_classes(samples):
    compare_with_sampling(NEAR_ONE_FACTOR, 100, samples, 1e-3, per_kind=1)


@pytest.mark.parametrize(("c", "allowed"), [(2, 1e-3), (10, 0.01), (100, 0.01)])
def test_integral_where_correlations_are_strong(c, allowed):
    # Only the first order of the correlations is kept: exact for two classes,
    # measured errors of up to .005 at 10 and at 100.
    compare_with_sampling(FAR, c, 10**5, allowed)


def test_integral_with_one_factor_of_unequal_loadings():
    # noise that moves the classes by different amounts: measured errors of up to .033
    c, u = 10, np.linspace(-0.5, 1.0, 10)
    cov = 0.5 * np.eye(c) + np.outer(u, u)
    cases = [("loadings", np.zeros(c), cov, label) for label in range(c)]
    p, stderr = sampled(cases, c, 10**5)
    assert (np.abs(integral(cases) - p) < 0.04 + 5 * stderr).all()


def test_error_is_of_second_order_in_what_one_factor_leaves():
    pattern = np.zeros((4, 4))
    pattern[0, 1] = pattern[1, 0] = 1.0
    mean = np.array([0.3, 0.1, 0.0, 0.2])
    sizes, errors = 2.0 ** -np.arange(1, 5), []
    for size in sizes:
        cov = np.eye(4) + size * pattern
        difference = np.eye(4)[3][None, :] - np.eye(4)[:3]
        gap = scipy.stats.multivariate_normal(
            np.zeros(3), difference @ cov @ difference.T, abseps=1e-9, releps=1e-9
        )
        expected = gap.cdf(difference @ mean, rng=np.random.default_rng(0))
        errors.append(win(mean[None], cov[None], np.array([3]))[0] - expected)
    slope = np.polyfit(np.log(sizes), np.log(np.abs(errors)), 1)[0]
    assert abs(slope - 2) < 0.3, (slope, errors)


def random_laws(n=40, c=6, seed=0):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(n, c))
    cov = np.stack([wishart(rng, c, 3 * c) for _ in range(n)])
    return mean, cov, rng.integers(c, size=n)


def win(mean, cov, labels, **kwargs):
    return np.asarray(win_probability(*map(jnp.asarray, (mean, cov, labels)), **kwargs))


def test_two_classes_have_a_formula():
    mean, cov, labels = random_laws(c=2)
    sign = 1 - 2 * labels
    variance = cov[:, 0, 0] + cov[:, 1, 1] - 2 * cov[:, 0, 1]
    expected = scipy.stats.norm.cdf(
        sign * (mean[:, 0] - mean[:, 1]) / np.sqrt(variance)
    )
    np.testing.assert_allclose(win(mean, cov, labels), expected, rtol=1e-9)


def test_independent_noise_is_a_one_dimensional_integral():
    c, mean = 10, np.linspace(0.0, 1.5, 10)
    for label in (0, 5, 9):
        z = np.linspace(-9, 9, 4001)
        density = scipy.stats.norm.pdf(z)
        beaten = scipy.stats.norm.cdf(mean[label] + z[:, None] - mean)
        expected = np.trapezoid(density * np.delete(beaten, label, 1).prod(1), z)
        got = win(mean[None], np.eye(c)[None], np.array([label]))[0]
        # one factor of variance 1 beside own variances of 1: exact up to quadrature
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_zero_covariance_gives_zero_or_one():
    mean, cov, _ = random_laws()
    best = mean.argmax(axis=1)
    np.testing.assert_array_equal(win(mean, 0 * cov, best), 1.0)
    np.testing.assert_allclose(win(mean, 0 * cov, (best + 1) % 6), 0, atol=1e-200)
    # far in the tails nothing overflows
    np.testing.assert_array_equal(win(1e6 * mean, 1e-9 * cov, best), 1.0)
    wrong = win(1e6 * mean, 1e-9 * cov, (best + 1) % 6)
    np.testing.assert_allclose(wrong, 0, atol=1e-200)


def test_noise_on_the_label_alone():
    # f = (-50, .2, .5 + z): the third wins with probability Phi(.3)
    mean = np.array([[-50.0, 0.2, 0.5]])
    cov = np.diag([0.0, 0.0, 1.0])[None]
    got = win(mean, cov, np.array([2]))
    # the integrand is a step, which falls between two of 41 nodes
    np.testing.assert_allclose(got, scipy.stats.norm.cdf(0.3), atol=0.03)


def test_common_noise_drops_out():
    mean, cov, labels = random_laws()
    base = win(mean, cov, labels)
    np.testing.assert_allclose(win(mean, cov + 7.0, labels), base, atol=1e-12)
    np.testing.assert_allclose(win(mean + 3.0, cov, labels), base, atol=1e-12)
    # noise common to all, correlated with each class: cov_ij + u_i + u_j
    u = np.linspace(-0.3, 0.4, 6)
    shifted = cov + u[:, None] + u[None, :]
    np.testing.assert_allclose(win(mean, shifted, labels), base, atol=1e-12)


def test_units_and_the_order_of_classes_and_points_do_not_matter():
    mean, cov, labels = random_laws()
    base = win(mean, cov, labels)
    np.testing.assert_allclose(win(1e3 * mean, 1e6 * cov, labels), base, rtol=1e-10)
    order = np.array([3, 1, 5, 0, 2, 4])
    permuted = win(mean[:, order], cov[:, order][:, :, order], order.argsort()[labels])
    np.testing.assert_allclose(permuted, base, atol=1e-12)
    for block in (1, 7, 512):
        np.testing.assert_allclose(
            win(mean[::-1], cov[::-1], labels[::-1], block=block)[::-1],
            base,
            atol=1e-12,
        )


@pytest.mark.parametrize("c", [2, 3, 10, 100])
@pytest.mark.parametrize("common", [0.0, 5.0])
def test_equal_means_give_one_over_the_classes(c, common):
    cov = (2.5 * np.eye(c) + common)[None]
    got = win(np.full((1, c), 0.3), cov, np.array([c - 1]))
    # 41 nodes resolve the winner of c = 100 to 1e-5
    np.testing.assert_allclose(got, 1 / c, atol=1e-5)


def test_probabilities_of_all_classes_sum_to_one():
    mean, _, _ = random_laws(c=6)
    cov = np.tile(np.diag([1.0, 1.5, 0.7, 1.0, 2.0, 1.2]), (40, 1, 1))
    total = sum(win(mean, cov, np.full(40, label)) for label in range(6))
    np.testing.assert_allclose(total, 1, atol=3e-3)


def test_probabilities_stay_in_the_unit_interval_and_have_finite_gradients():
    mean, cov, labels = random_laws(n=200, c=10)
    p = win(3 * mean, cov, labels)
    assert ((p >= 0) & (p <= 1)).all()
    gradient = jax.grad(lambda m: win_probability(m, cov, labels).sum())
    assert np.isfinite(gradient(jnp.asarray(mean))).all()


def test_float32_agrees_with_float64():
    mean, cov, labels = random_laws()
    single = win(mean.astype(np.float32), cov.astype(np.float32), labels)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, win(mean, cov, labels), atol=2e-5)
