"""Flip probabilities: closed forms, sampling, and draws of the exact kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from closeness import raises, within
from problems import prototypes

import theory
from theory.errors import NumericalError
from theory.outputs.calibration import reliability
from theory.outputs.draws import Draws
from theory.outputs.flips import flip_bound, flip_probability, observed_flips, stable
from theory.outputs.law import OutputLaw

# One shape as far as possible: every other one compiles the integral anew.
N, C = 120, 5


def make_law(mean, cov, init_var=0.0):
    n = len(mean)
    return OutputLaw(
        mean=jnp.asarray(mean, float),
        cov=jnp.asarray(cov, float),
        init_var=jnp.asarray(np.full(n, float(init_var))),
    )


def random_law(seed=0, n=N, c=C, size=1.0, init_var=0.5):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, c, c))
    cov = root @ root.transpose(0, 2, 1) / c
    return make_law(size * rng.normal(size=(n, c)), cov, init_var)


def sample(law, draws, seed=1):
    """Independent outputs (draws, n, c)."""
    rng = np.random.default_rng(seed)
    values, vectors = np.linalg.eigh(np.asarray(law.cov))
    root = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
    normal = rng.normal(size=(draws, *law.mean.shape))
    return np.asarray(law.mean) + np.einsum("nij,knj->kni", root, normal)


def flipped(outputs, decisions):
    return outputs.argmax(axis=-1) != np.asarray(decisions)


# --- closed forms ------------------------------------------------------------------


@pytest.mark.parametrize("inits", [1, 10])
def test_two_classes_are_a_normal_tail(inits):
    law = random_law(c=2, size=6.0).averaged(inits)
    mean, cov = np.asarray(law.mean), np.asarray(law.cov)
    spread = np.sqrt(cov[:, 0, 0] + cov[:, 1, 1] - 2 * cov[:, 0, 1])
    z = (mean[:, 0] - mean[:, 1]) / spread
    own = scipy.stats.norm.sf(np.abs(z))
    assert own.min() < 1e-18  # below what 1 - P can hold
    for flips in (flip_bound, flip_probability):
        np.testing.assert_allclose(flips(law), own, rtol=1e-11)
        first = flips(law, np.zeros(N, int))
        np.testing.assert_allclose(first, scipy.stats.norm.sf(z), rtol=1e-11)


def test_equal_classes_flip_in_all_but_one_of_c():
    law = make_law(np.zeros((N, C)), np.tile(np.eye(C) + 3.0, (N, 1, 1)))
    np.testing.assert_allclose(flip_probability(law), 1 - 1 / C, atol=1e-3)
    np.testing.assert_array_equal(flip_bound(law), 1.0)  # (c - 1)/2 is capped


def test_without_covariance_decisions_flip_or_do_not():
    mean = np.tile([0.1, 0.5, 0.2, 0.3, 0.4], (N, 1))
    mean[1, 4] = 0.5  # a tie
    law = make_law(mean, np.zeros((N, C, C)))
    for flips in (flip_bound, flip_probability):
        got = np.asarray(flips(law))
        np.testing.assert_allclose(got, np.where(np.arange(N) == 1, 0.5, 0), atol=1e-9)
        np.testing.assert_array_equal(flips(law, np.full(N, 2)), 1.0)
    np.testing.assert_array_equal(stable(law, 0.0), np.arange(N) != 1)


def test_noise_common_to_all_classes_flips_nothing():
    law = random_law()
    shifted = make_law(law.mean, law.cov + 7.0)
    for flips in (flip_bound, flip_probability):
        np.testing.assert_allclose(flips(shifted), flips(law), atol=1e-9)


# --- bound and integral ------------------------------------------------------------


@pytest.mark.parametrize("inits", [1, 100])
@pytest.mark.parametrize("own", [True, False])
def test_flip_probability_is_the_frequency_in_samples(inits, own):
    law = random_law().averaged(inits)
    decisions = law.decisions() if own else np.arange(N) % C
    frequencies = flipped(sample(law, 10_000), decisions)
    predicted = flip_probability(law, None if own else decisions)
    within(frequencies, predicted, slack=1e-3)


@pytest.mark.parametrize("c", [2, C])
@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_the_bound_holds_and_is_at_most_c_minus_one_times_too_large(c, size):
    law = random_law(seed=c, c=c, size=size)
    bound, flips = np.asarray(flip_bound(law)), np.asarray(flip_probability(law))
    assert (flips >= 0).all()
    assert (flips <= bound).all()
    assert (bound <= 1).all()
    assert (bound <= (c - 1) * flips * (1 + 1e-12)).all()


def test_stable_points_are_those_below_the_level():
    law = random_law()
    decisions = np.arange(N) % C
    flips = np.asarray(flip_probability(law, decisions))
    level = float(np.median(flips))
    got = np.asarray(stable(law, level, decisions))
    np.testing.assert_array_equal(got, flips <= level)
    assert 0 < got.sum() < N
    unknown = make_law(law.mean, law.cov * np.nan)
    with raises("this law hold NaN or infinity", NumericalError):
        stable(unknown, 1.0)


# --- observed flips ----------------------------------------------------------------


def test_observed_flips_by_hand():
    # two draws, two initialisations, one point: their means decide for 1, 0
    outputs = jnp.asarray([[[[0.0, 3.0]], [[1.0, 0.0]]], [[[2.0, 0.0]], [[1.0, 2.0]]]])
    draws = Draws(outputs=outputs)
    one = np.array([1])
    np.testing.assert_array_equal(observed_flips(draws, one), [[0.0], [1.0]])
    np.testing.assert_array_equal(observed_flips(draws, one, 1), [[0.5], [0.5]])


@pytest.mark.parametrize("inits", [None, 1, 10])
def test_flips_are_what_accuracies_leave(inits):
    rng = np.random.default_rng(3)
    draws = Draws(
        outputs=jnp.asarray(rng.normal(size=(6, 1, N, C))),
        init_var=jnp.asarray(rng.uniform(0.1, 2.0, size=(6, N))),
    )
    decisions = np.arange(N) % C
    flips = observed_flips(draws, decisions, inits)
    assert flips.shape == (6, N)
    np.testing.assert_allclose(
        flips.mean(axis=1), 1 - draws.accuracies(decisions, inits), rtol=1e-6
    )


def test_known_initialisations_are_integrated():
    law = random_law(init_var=0.8)
    outputs = sample(law, 500)
    draws = Draws(
        outputs=jnp.asarray(outputs[:, None]),
        init_var=jnp.asarray(np.full(outputs.shape[:2], 0.8)),
    )
    decisions = law.decisions()
    within(observed_flips(draws, decisions), flip_probability(law), slack=1e-3)
    single = flip_probability(law.averaged(1))
    within(observed_flips(draws, decisions, 1), single, slack=1e-3)


# --- reliability -------------------------------------------------------------------


def test_reliability_by_hand():
    predicted = np.array([0.05, 0.0, 0.3, 0.5, 1.0])
    observed = np.array(
        [[0, 0, 1, 1, 1], [0, 0, 0, 1, 1], [1, 0, 0, 0, 1], [0, 0, 0, 1, 1.0]]
    )
    got = reliability(predicted, observed, edges=(0, 0.1, 0.2, 0.5, 1))
    np.testing.assert_array_equal(got.points, [2, 0, 1, 2])
    np.testing.assert_allclose(got.predicted, [0.025, np.nan, 0.3, 0.75])
    np.testing.assert_allclose(got.observed, [1 / 8, np.nan, 1 / 4, 7 / 8])
    # over draws: (0, 0, .5, 0), (1, 0, 0, 0), (1, 1, .5, 1): deviation .25, .5, .25
    np.testing.assert_allclose(got.stderr, [0.125, np.nan, 0.25, 0.125])
    for i, count, total in ((0, 1, 8), (2, 1, 4), (3, 7, 8)):
        exact = scipy.stats.binomtest(count, total).proportion_ci(0.95)
        np.testing.assert_allclose([got.low[i], got.high[i]], exact, rtol=1e-9)
    gaps = 2 * 0.1 + 0.05 + 2 * 0.125
    np.testing.assert_allclose(got.calibration_error, gaps / 5)


@pytest.mark.parametrize("count", [0, 1, 7, 30])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_intervals_are_those_of_scipy(count, confidence):
    observed = np.array([count / 30] * 3)
    got = reliability(
        np.full(3, 0.05), observed, trials=30, confidence=confidence, edges=(0, 0.1, 1)
    )
    exact = scipy.stats.binomtest(3 * count, 90).proportion_ci(confidence)
    np.testing.assert_allclose([got.low[0], got.high[0]], exact, rtol=1e-9)
    np.testing.assert_array_equal([got.low[1], got.high[1]], [0, 1])
    assert np.isnan(got.stderr).all()


def test_reliability_of_the_right_law_and_of_a_wrong_one():
    law = random_law(size=2.5)
    decisions = law.decisions()
    draws = Draws(outputs=jnp.asarray(sample(law, 1000)[:, None]))
    observed = observed_flips(draws, decisions)
    right = reliability(flip_probability(law), observed)
    assert (right.points[:4] > 5).all()
    off = np.abs(right.observed - right.predicted)
    assert (off < 5 * right.stderr + 1e-3).all()
    assert right.calibration_error < 0.01
    # points are independent here, and the binomial interval is honest
    inside = (right.low <= right.predicted) & (right.predicted <= right.high)
    assert inside.sum() >= len(inside) - 1
    # half the noise: too few flips are predicted
    wrong = reliability(
        flip_probability(make_law(law.mean, law.cov / 4), decisions), observed
    )
    excess = (wrong.observed - wrong.predicted) / wrong.stderr
    assert (excess > 10).sum() >= 4
    assert wrong.calibration_error > 0.05


def test_the_error_over_draws_knows_that_points_share_them():
    # all points alike: a draw flips all of them or none
    outputs = np.repeat(sample(make_law([[0.5, 0.0]], np.eye(2)[None]), 200), N, 1)
    law = make_law(np.tile([[0.5, 0.0]], (N, 1)), np.tile(np.eye(2), (N, 1, 1)))
    zeros = np.zeros(N, int)
    observed = observed_flips(Draws(outputs=jnp.asarray(outputs[:, None])), zeros)
    got = reliability(flip_probability(law), observed, edges=(0, 1))
    frequency = got.observed[0]
    alone = np.sqrt(frequency * (1 - frequency) / 199)
    np.testing.assert_allclose(got.stderr[0], alone, rtol=1e-12)
    assert got.high[0] - got.low[0] < 0.6 * 4 * got.stderr[0]  # too narrow


# --- against the exact kernel ------------------------------------------------------


def test_class_mean_decisions_flip_as_often_as_the_first_order_law_says():
    problem = prototypes((20,) * C, n_test=N, d=200, spread=2.0)
    arch = theory.Architecture(activation="erf", depth=3)
    noise = theory.Replacement(p=0.9)
    decisions = theory.class_mean_scores(problem).argmax(1)
    key = jax.random.key(0)
    draws = theory.exact(arch, noise, problem, draws=200, key=key, with_init_var=False)
    observed = observed_flips(draws, decisions)

    def judged(isotropic):
        law = theory.first_order(arch, noise, problem, isotropic=isotropic)
        flips = flip_probability(law, decisions)
        return reliability(flips, observed, edges=(0, 0.4, 0.5, 0.6, 1))

    right = judged(isotropic=True)
    assert (right.points > 5).all()
    assert (np.abs(right.observed - right.predicted) < 5 * right.stderr).all()
    assert right.calibration_error < 0.01
    # n/d = .5 is not small: without the spread of the eigenvalues too few flips
    assert judged(isotropic=False).calibration_error > 0.03


# --- refusals ----------------------------------------------------------------------


def test_decisions_that_do_not_fit():
    law = random_law()
    draws = Draws(outputs=jnp.ones((2, 6, N, C)))
    for name, call in {
        "bound": lambda d: flip_bound(law, d),
        "probability": lambda d: flip_probability(law, d),
        "stable": lambda d: stable(law, 0.1, d),
        "observed": lambda d: observed_flips(draws, d),
    }.items():
        with raises(f"`decisions` must have one entry per test point, {N}, got"):
            call(np.zeros(N + 1, int))
        with raises(f"`decisions` must lie in 0 ... {C - 1}, got 0 ... {C}"):
            call(np.arange(N) % (C + 1))
        assert call(np.zeros(N, int)).shape[-1] == N, name
    with raises("`inits` must divide the 6 initialisations of these draws, got 4"):
        observed_flips(draws, np.zeros(N, int), 4)
    known = Draws(outputs=jnp.ones((2, 1, N, C)), init_var=jnp.ones((2, N)))
    with raises("`inits` must be an integer of at least 1, got 0"):
        observed_flips(known, np.zeros(N, int), 0)
    with raises("`level` must be a number, got nan"):
        stable(law, np.nan)
    for level in (-0.1, 1.1):
        with raises(f"`level` must lie in 0 ... 1, got {level}"):
            stable(law, level)


@pytest.mark.parametrize(
    ("text", "predicted", "observed", "options"),
    [
        (
            "`predicted` must have shape (n,), got shape (2, 3)",
            [[0.1] * 3] * 2,
            [1],
            {},
        ),
        ("`observed` must have shape (2,) or (draws, 2)", [0.1, 0.2], [[0.1] * 3], {}),
        ("`observed` must have shape (2,) or (draws, 2)", [0.1, 0.2], [[[0, 1]]], {}),
        ("`predicted` must lie in 0 ... 1, got 0.1 ... 1.2", [0.1, 1.2], [0, 1], {}),
        ("`predicted` must be finite, got NaN or infinity", [0.1, np.nan], [0, 1], {}),
        ("`observed` must lie in 0 ... 1, got 0.0 ... 7.0", [0.1, 0.2], [0, 7], {}),
        ("`predicted` must not be empty, got shape (0,)", [], [], {}),
        ("`observed` must not be empty, got shape (0, 1)", [0.1], np.ones((0, 1)), {}),
        ("`trials` must be given where `observed` has no axis", [0.1], [0], {}),
        ("`trials` must be an integer of at least 1, got 0", [0.1], [0], {"trials": 0}),
        ("`confidence` must lie between 0 and 1", [0.1], [[0]], {"confidence": 1.0}),
        ("`edges` must increase from 0 to 1", [0.1], [[0]], {"edges": (0, 0.5)}),
        (
            "`edges` must increase from 0 to 1",
            [0.1],
            [[0]],
            {"edges": (0, 0.5, 0.5, 1)},
        ),
        ("`edges` must increase from 0 to 1", [0.1], [[0]], {"edges": ()}),
    ],
)
def test_frequencies_that_do_not_fit(text, predicted, observed, options):
    with raises(text):
        reliability(np.array(predicted), np.array(observed), **options)
