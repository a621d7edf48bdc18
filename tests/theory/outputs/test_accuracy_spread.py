"""Covariances between test points, and the spread of the accuracy that they make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from closeness import raises, within

from theory.errors import NumericalError
from theory.outputs.covariances import CrossCovariance
from theory.outputs.draws import Draws
from theory.outputs.law import OutputLaw
from theory.records import record

N, C = 2, 3
LABELS = np.array([0, 2])
UNKNOWN = OutputLaw(
    mean=jnp.zeros((N, C)), cov=jnp.ones((N, C, C)), init_var=jnp.zeros(N)
)


# --- covariances between points ----------------------------------------------------


@record(kw_only=True)
class Common:
    """Noise over draws and over initialisations, each with a common part."""

    own: float
    shared: float
    init_own: float = 0.0
    init_shared: float = 0.0
    classes: int = C

    def init_cov(self, a, b):
        same = np.asarray(a)[:, None] == np.asarray(b)[None, :]
        return jnp.asarray(self.init_shared + self.init_own * same)

    def cov(self, a, b):
        same = np.asarray(a)[:, None] == np.asarray(b)[None, :]
        each = (self.shared + self.own * same)[:, :, None, None]
        return jnp.asarray(each * np.eye(self.classes))


def common(mean, cross):
    n, c = mean.shape
    everyone = np.arange(n)
    cov = np.asarray(cross.cov(everyone, everyone))[everyone, everyone]
    init_var = np.diagonal(cross.init_cov(everyone, everyone))
    return OutputLaw(
        mean=jnp.asarray(mean),
        cov=jnp.asarray(cov),
        init_var=jnp.asarray(init_var),
        cross=cross,
    )


def errors(*samples):
    """Five relative standard errors of ratios of deviations over so many samples."""
    return 5 * sum(1 / (2 * each) for each in samples) ** 0.5


def test_cross_covariances_hold_the_share_of_the_initialisations():
    mean = np.zeros((4, C))
    cross = Common(own=0.7, shared=0.2, init_own=1.5, init_shared=0.6)
    assert isinstance(cross, CrossCovariance)
    base = common(mean, cross)
    a, b = np.array([0, 3]), jnp.asarray([3, 1, 2])
    np.testing.assert_array_equal(base.cross_cov(a, b), cross.cov(a, b))
    for averaged in (base.averaged(3), base.averaged(3).averaged(5)):
        assert averaged.inits == 3
        got = averaged.cross_cov(a, b)
        assert got.shape == (2, 3, C, C)
        np.testing.assert_allclose(got[0, 1], (0.2 + 0.6 / 3) * np.eye(C))
        np.testing.assert_allclose(got[1, 0], averaged.cov[3], rtol=1e-14)


def test_cross_covariances_that_are_not_known():
    with raises("use a route that has it, or Draws.law()"):
        UNKNOWN.cross_cov(np.array([0]), np.array([1]))
    known = common(np.zeros((4, C)), Common(own=1.0, shared=1.0))
    with raises("`b` must lie in 0 ... 3, got 1 ... 4"):
        known.cross_cov(np.array([0]), np.array([1, 4]))


@pytest.mark.parametrize(("draws", "inits"), [(2, 2), (4, 3), (3, 1)])
def test_cross_covariances_of_draws_have_no_bias(draws, inits):
    # both kinds of noise are common to the two points, in part
    rng = np.random.default_rng(3)
    repeats, shared, init_shared = 20_000, 0.6, -0.5
    own, init_own = np.array([[0.4], [1.0]]), np.array([[0.3], [1.5]])
    outputs = shared**0.5 * rng.normal(size=(repeats, draws, 1, 1, C))
    outputs = outputs + own**0.5 * rng.normal(size=(repeats, draws, 1, N, C))
    sign = np.array([[1.0], [np.sign(init_shared)]])
    of_init = abs(init_shared) ** 0.5 * rng.normal(size=(repeats, draws, inits, 1, C))
    outputs = outputs + sign * of_init
    outputs += init_own**0.5 * rng.normal(size=(repeats, draws, inits, N, C))
    outputs = jnp.asarray(outputs)
    a, b = np.array([0, 1]), np.array([1])

    def estimate(outputs):
        law = Draws(outputs=outputs).law()
        assert isinstance(law.cross, CrossCovariance)
        of_points = law.cross_cov(np.arange(N), np.arange(N))
        rest = of_points[np.arange(N), np.arange(N)] - law.cov
        if inits == 1:
            with raises("this law does not know the covariance between points"):
                law.cross.init_cov(a, b)
            return law.cross_cov(a, b), None, rest
        return law.cross_cov(a, b), law.cross.init_cov(a, b), rest

    many, many_init, rest = jax.jit(jax.vmap(estimate))(outputs)
    np.testing.assert_allclose(rest, 0, atol=1e-12)
    total = shared + (init_shared if inits == 1 else 0.0)
    within(many[:, 0, 0], total * np.eye(C))
    if inits == 1:
        return
    within(many[:, 1, 0], (1.0 + shared) * np.eye(C))
    within(many_init[:, :, 0], [init_shared, 1.5 + abs(init_shared)])


def test_known_init_var_says_nothing_between_points():
    draws = Draws(outputs=jnp.ones((3, 1, N, C)), init_var=jnp.ones((3, N)))
    law = draws.law().averaged(2)
    one = np.array([1])
    np.testing.assert_array_equal(law.cross_cov(one, one)[0, 0], np.eye(C) / 2)
    for other in (np.array([0]), np.arange(N)):
        with raises("this law does not know the covariance between points"):
            law.cross_cov(one, other)


# --- spread of the accuracy --------------------------------------------------------


def counted_std(base, labels, repeats=20_000):
    """Standard deviation of the accuracy over joint samples of all points."""
    n, c = base.mean.shape
    everyone = np.arange(n)
    cov = np.asarray(base.cross_cov(everyone, everyone))
    cov = cov.transpose(0, 2, 1, 3).reshape(n * c, n * c)
    values, vectors = np.linalg.eigh(cov)
    root = vectors * np.sqrt(np.maximum(values, 0))
    normal = np.random.default_rng(0).normal(size=(repeats, n * c))
    outputs = (normal @ root.T).reshape(repeats, n, c) + np.asarray(base.mean)
    return (outputs.argmax(-1) == labels).mean(axis=1).std(ddof=1)


def test_spread_of_independent_points_is_binomial():
    rng = np.random.default_rng(0)
    independent = common(rng.normal(size=(50, C)), Common(own=1.0, shared=0.0))
    labels = rng.integers(C, size=50)
    right = np.asarray(independent.per_point(labels))
    expected = np.sqrt((right * (1 - right)).sum()) / 50
    got = independent.accuracy_std(labels)
    assert isinstance(got, float)
    np.testing.assert_allclose(got, expected, rtol=errors(4000))


@pytest.mark.parametrize("inits", [None, 1, 4])
def test_spread_of_correlated_points_is_that_of_joint_samples(inits):
    rng = np.random.default_rng(1)
    cross = Common(own=0.5, shared=0.5, init_own=0.3, init_shared=0.7)
    base = common(0.7 * rng.normal(size=(50, C)), cross)
    base = base if inits is None else base.averaged(inits)
    labels = rng.integers(C, size=50)
    expected = counted_std(base, labels)
    allowed = errors(4000, 20_000)
    np.testing.assert_allclose(base.accuracy_std(labels), expected, rtol=allowed)
    # 25 of the points stand for all: a random part of the pairs besides
    few = base.accuracy_std(labels, points=25, samples=16_000)
    np.testing.assert_allclose(few, expected, rtol=0.2)
    other = base.accuracy_std(labels, key=jax.random.key(5))
    assert other != base.accuracy_std(labels)
    np.testing.assert_allclose(other, expected, rtol=allowed)


def test_spread_of_two_classes_under_common_noise_is_an_integral():
    # f_1 - f_0 = m + s z + t e: given z, right with probability Phi((m + s z)/t)
    n, s2, t2 = 40, 1.2, 0.8
    mean = np.stack([np.zeros(n), np.linspace(-1, 1.5, n)], axis=1)
    cross = Common(own=t2 / 2, shared=s2 / 2, classes=2)
    z = np.linspace(-8, 8, 2001)[:, None]
    density = scipy.stats.norm.pdf(z[:, 0])
    right = scipy.stats.norm.cdf((mean[:, 1] + s2**0.5 * z) / t2**0.5)
    given = right.mean(axis=1)
    within_z = (right * (1 - right)).sum(axis=1) / n**2
    first = np.trapezoid(density * given, z[:, 0])
    variance = np.trapezoid(density * (given**2 + within_z), z[:, 0]) - first**2
    got = common(mean, cross).accuracy_std(np.ones(n, int), samples=20_000)
    np.testing.assert_allclose(got, variance**0.5, rtol=errors(20_000))


def test_spread_that_cannot_be_known():
    mean = np.zeros((N, C))
    with raises("`cross_cov` needs `cross`"):
        UNKNOWN.accuracy_std(LABELS)
    draws = Draws(outputs=jnp.ones((3, 1, N, C)), init_var=jnp.ones((3, N)))
    with raises("this law does not know the covariance between points"):
        draws.law().averaged(2).accuracy_std(LABELS)
    known = common(mean, Common(own=1.0, shared=0.5))
    with raises("`points` must be an integer of at least 2, got 1"):
        known.accuracy_std(LABELS, points=1)
    with raises("`samples` must be an integer of at least 2, got 0"):
        known.accuracy_std(LABELS, samples=0)
    bad = common(mean, Common(own=1.0, shared=-0.6))
    with raises("it is no covariance", error=NumericalError):
        bad.accuracy_std(LABELS)
    # a little below zero passes for zero
    nearly = common(mean, Common(own=1.0, shared=-0.5002))
    assert nearly.accuracy_std(LABELS) > 0


def test_spread_of_two_points_that_decide_alike():
    two = common(np.zeros((2, C)), Common(own=1e-9, shared=1.0))
    got = two.accuracy_std(np.array([1, 1]), samples=16_000)
    np.testing.assert_allclose(got, np.sqrt(2 / 9), rtol=errors(16_000))


def test_spread_of_a_single_point():
    one = common(np.zeros((1, C)), Common(own=1.0, shared=0.5))
    np.testing.assert_allclose(
        one.accuracy_std(np.array([0])), np.sqrt(2 / 9), rtol=1e-3
    )
