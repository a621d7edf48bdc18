"""The accuracy integral against sampling, and its exact special cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from theory.outputs import accuracy
from theory.outputs.accuracy import win_probability

# laws whose differences share one factor, plus a little: integrated by quadrature
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
FAR = {
    "few_draws": lambda rng, c: wishart(rng, c, 2 * c),
    "singular": lambda rng, c: wishart(rng, c, (c + 1) // 2),
    "two_draws": lambda rng, c: wishart(rng, c, 1),
    "graded": lambda rng, c: np.diag(rng.permutation(np.geomspace(0.1, 1.0, c))),
    "far_graded": lambda rng, c: np.diag(rng.permutation(np.geomspace(0.01, 1.0, c))),
    "loadings": lambda rng, c: 0.5 * np.eye(c) + 2 * outer(np.linspace(-0.5, 1.0, c)),
    "two_factors": lambda rng, c: 0.3 * np.eye(c) + outer(rng.normal(size=(c, 2))),
    "three_factors": lambda rng, c: 0.1 * np.eye(c) + outer(rng.normal(size=(c, 3))),
    "neighbours": lambda rng, c: 0.9 ** np.abs(np.subtract.outer(*2 * [np.arange(c)])),
    "groups": lambda rng, c: 0.2 * np.eye(c) + 0.8 * outer(np.eye(3)[np.arange(c) % 3]),
    "very_unbalanced": lambda rng, c: unbalanced(rng, c, 1.8) + 4.0,
}


def outer(loadings):
    loadings = loadings.reshape(len(loadings), -1)
    return loadings @ loadings.T


def wishart(rng, c, freedom):
    a = rng.normal(size=(c, freedom))
    return a @ a.T / freedom


def unbalanced(rng, c, most=0.5):
    """Class sizes that differ by `most`, as the first-order law has it."""
    share = rng.uniform(1 - most / 2, 1 + most / 2, size=c) / c
    return c * (np.diag(share) + 0.5 * np.outer(share, share))


def laws(kinds, c, per_kind=2):
    """(mean, cov, label) of `per_kind` random laws of every kind."""
    rng = np.random.default_rng(c)
    for name, make in kinds.items():
        for i in range(per_kind):
            cov = make(rng, c)
            size = np.sqrt(np.trace(cov) / c - cov.mean()) / np.sqrt(1 - 1 / c)
            mean = rng.normal(size=c) * size * (0.4, 1.0)[i % 2]
            # a likely winner and an unlikely one
            label = int(mean.argmax() if i % 2 else np.argsort(mean)[c // 2])
            yield name, mean, cov, label


def sampled(cases, c, samples, block=50_000):
    """Frequencies with which the labels win, from common random numbers."""
    rng = np.random.default_rng(1)
    roots = [np.linalg.eigh(cov) for _, _, cov, _ in cases]
    roots = [(v * np.sqrt(np.maximum(w, 0))).T.astype(np.float32) for w, v in roots]
    wins = np.zeros(len(cases))
    for _ in range(samples // block):
        z = rng.standard_normal((block, c), np.float32)
        for i, ((_, mean, _, label), root) in enumerate(zip(cases, roots, strict=True)):
            outputs = z @ root + mean.astype(np.float32)
            wins[i] += (outputs.argmax(axis=1) == label).sum()
    p = wins / samples
    return p, np.sqrt(np.maximum(p * (1 - p), 1 / samples) / samples)


# Points of a call, of fewer than 100 classes: every other number compiles anew.
POINTS = 40


def win(mean, cov, labels, **kwargs):
    n, c = mean.shape
    at = np.minimum(np.arange(max(n, POINTS if c < 100 else n)), n - 1)
    arrays = (jnp.asarray(array[at]) for array in (mean, cov, labels))
    return np.asarray(win_probability(*arrays, **kwargs))[:n]


def integral(cases):
    return win(*(np.stack([case[i] for case in cases]) for i in (1, 2, 3)))


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


@pytest.mark.parametrize(
    ("c", "per_kind"), [(2, 2), (10, 2), pytest.param(100, 1, marks=pytest.mark.slow)]
)
def test_integral_against_sampling(c, per_kind):
    samples = 10**6 if c == 100 else 2 * 10**5
    compare_with_sampling(NEAR_ONE_FACTOR | FAR, c, samples, 1e-3, per_kind)


# Differences m_j + l_j z of one variable: an interval. In turn, cases that only the
# bounds, the correlations left over, or the second order tell from easy ones.
INTERVALS = [
    ([-0.8, -0.4, 0.8], [0.6, 0.3, -0.5]),
    ([0.4, 2.8, 2.4], [0.6, -1.9, -1.4]),
    ([-0.5, -0.6], [1.4, 1.8]),
]


@pytest.mark.parametrize(("gap", "loadings"), INTERVALS)
def test_one_variable_decides(gap, loadings):
    gap, loadings = np.array(gap), np.array(loadings)
    root = -gap / loadings
    low = root[loadings > 0].max()
    high = root[loadings < 0].min(initial=np.inf)
    expected = scipy.stats.norm.cdf(high) - scipy.stats.norm.cdf(low)
    mean, loadings = np.r_[0.0, -gap], np.r_[0.0, -loadings]
    got = win(mean[None], np.outer(loadings, loadings)[None], np.array([0]))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_correlations_that_the_factor_leaves_are_sampled():
    # the series gives .1510 here and takes its second order for small
    mean = np.array([-0.1, -0.1, 0.9, -0.8])
    root = np.array([[-0.6, -0.3], [-1.0, 0.2], [1.1, 0.7], [-0.7, 0.4]])
    cov = root @ root.T + 0.1 * np.eye(4)
    differ = np.c_[np.ones(3), -np.eye(3)]
    expected = scipy.stats.multivariate_normal.cdf(
        differ @ mean, np.zeros(3), differ @ cov @ differ.T, abseps=1e-6, releps=0
    )
    got = win(mean[None], cov[None], np.array([0]))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3)


def test_a_first_order_that_outweighs_the_leading_one():
    # the series gives 4e-5, and takes its second order for small
    rng = np.random.default_rng(388)
    cov = 0.1 * np.eye(100) + outer(rng.normal(size=(100, 3)))
    mean = rng.normal(size=100)
    cases = [("three_factors", mean, cov, int(mean.argmax()))]
    p, stderr = sampled(cases, 100, 10**5)
    assert p > 0.007
    assert np.abs(integral(cases) - p) < 1e-3 + 5 * stderr


def test_a_win_that_is_impossible():
    # f_1 - f_0 = -.1 + z and f_1 - f_2 = -.2 - z: either is likely, both never are
    mean, loadings = np.array([0.1, 0.0, 0.2]), np.array([-1.0, 0.0, 1.0])
    cov = np.outer(loadings, loadings)
    got = win(mean[None], cov[None], np.array([1]))
    np.testing.assert_allclose(got, 0, atol=1e-6)


series = jax.jit(jax.vmap(accuracy._series))


def trusted(cases):
    """Whether the series is good enough for each case."""
    arrays = (jnp.asarray(np.stack([case[i] for case in cases])) for i in (1, 2, 3))
    return np.asarray(series(*arrays)[1])


@pytest.mark.parametrize("c", [3, 10, 100])
def test_nearly_one_factor_is_not_sampled(c):
    kinds = {
        kind: NEAR_ONE_FACTOR[kind] for kind in NEAR_ONE_FACTOR if kind != "estimated"
    }
    assert trusted(list(laws(kinds, c, per_kind=6))).all()


def test_other_covariances_are_sampled():
    hard = ("few_draws", "singular", "two_factors", "three_factors", "groups")
    cases = list(laws({kind: FAR[kind] for kind in hard}, 10))
    assert not trusted(cases).any()


def test_error_of_the_series_is_of_third_order_in_what_the_factor_leaves():
    # two correlated pairs beside the label: given its output, two pairs apart
    mean, label = np.array([0.3, -0.2, 0.1, 0.4, 0.5]), 4
    pairs = np.zeros((5, 5))
    pairs[[0, 1, 2, 3], [1, 0, 3, 2]] = 1.0
    z = np.linspace(-8, 8, 65)
    sizes, errors = np.array([0.12, 0.08, 0.06, 0.04, 0.03]), []
    for size in sizes:
        both = scipy.stats.multivariate_normal(np.zeros(2), [[1, size], [size, 1]])
        beaten = [
            both.cdf(mean[label] + z[:, None] - mean[None, pair])
            for pair in ([0, 1], [2, 3])
        ]
        expected = np.trapezoid(scipy.stats.norm.pdf(z) * beaten[0] * beaten[1], z)
        law = mean, np.eye(5) + size * pairs, np.asarray(label)
        errors.append(series(*(jnp.asarray(part)[None] for part in law))[0][0])
        errors[-1] -= expected
    slope = np.polyfit(np.log(sizes), np.log(np.abs(errors)), 1)[0]
    assert abs(slope - 3) < 0.15, (slope, errors)


def random_laws(n=POINTS, c=6, seed=0):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(n, c))
    cov = np.stack([wishart(rng, c, 3 * c) for _ in range(n)])
    return mean, cov, rng.integers(c, size=n)


def test_two_classes_have_a_formula():
    mean, cov, labels = random_laws(c=2)
    sign = 1 - 2 * labels
    variance = cov[:, 0, 0] + cov[:, 1, 1] - 2 * cov[:, 0, 1]
    expected = scipy.stats.norm.cdf(
        sign * (mean[:, 0] - mean[:, 1]) / np.sqrt(variance)
    )
    # a gap of g standard deviations: g^2 roundings, far less than 1e5
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
    np.testing.assert_allclose(got, scipy.stats.norm.cdf(0.3), atol=1e-6)


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
    for block in (7, 512):
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
    # 49 nodes resolve the winner of c = 100 to 1e-5
    np.testing.assert_allclose(got, 1 / c, atol=1e-5)


def test_probabilities_of_all_classes_sum_to_one():
    mean, _, _ = random_laws(c=6)
    cov = np.tile(np.diag([1.0, 1.5, 0.7, 1.0, 2.0, 1.2]), (40, 1, 1))
    total = sum(win(mean, cov, np.full(40, label)) for label in range(6))
    np.testing.assert_allclose(total, 1, atol=3e-3)


def test_probabilities_stay_in_the_unit_interval():
    for seed in range(5):
        mean, cov, labels = random_laws(c=10, seed=seed)
        p = win(3 * mean, cov, labels)
        assert ((p >= 0) & (p <= 1)).all(), seed


def test_gradients_of_the_series_are_differences():
    mean, cov, labels = random_laws(c=10)
    labels = jnp.asarray(labels)
    wins = jax.jit(lambda mean, cov: series(mean, cov, labels)[0].sum())
    gradient = jax.jit(jax.grad(wins))
    for scale in (0.0, 1.0, 100.0):
        assert np.isfinite(gradient(scale * mean, cov)).all()
    near = 0.1 * cov + np.eye(10)  # the fit of the factor does not matter
    step = 1e-5 * np.random.default_rng(0).normal(size=mean.shape)
    expected = (wins(mean + step, near) - wins(mean - step, near)) / 2
    got = (np.asarray(gradient(mean, near)) * step).sum()
    np.testing.assert_allclose(got, expected, rtol=2e-3)


@pytest.mark.slow
def test_gradients_are_finite():
    mean, cov, labels = random_laws(n=200, c=10)
    gradient = jax.grad(lambda m: win_probability(m, cov, labels).sum())
    assert np.isfinite(gradient(jnp.asarray(mean))).all()


def test_float32_agrees_with_float64():
    mean, cov, labels = random_laws()
    single = win(mean.astype(np.float32), cov.astype(np.float32), labels)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, win(mean, cov, labels), atol=2e-5)
