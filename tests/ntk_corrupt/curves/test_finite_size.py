"""Finite-size scaling: curves made from the ansatz, and laws known exactly."""

import functools
from typing import Any

import numpy as np
import pytest
from closeness import raises, within
from scipy.special import expit

from ntk_corrupt.curves import collapse_scores
from ntk_corrupt.curves.crossings import threshold_crossing
from ntk_corrupt.curves.finite_size import bootstrap_collapse, collapse
from ntk_corrupt.curves.power_law import power_law

P = np.linspace(0.9, 0.995, 30)
SIZES = np.array([500.0, 2000.0, 5000.0, 20000.0, 60000.0])
P_C, NU, KAPPA = 0.95, 2.5, 0.10
ROUNDING = 64 * np.finfo(float).eps  # of some ten operations on numbers of size one
SEARCH: dict[str, Any] = {"p_c": (0.92, 0.98), "nu": (0.5, 6.0), "kappa": (-2.0, 2.0)}

SHAPES = {
    "tanh": lambda x: -0.6 * np.tanh(x),
    "steep tanh": lambda x: -0.6 * np.tanh(2 * x),
    "logistic": lambda x: 0.8 * expit(-2 * x),
    "without symmetry": lambda x: 0.8 * np.exp(-np.exp(x)),
}


def curves(shape="tanh", kappa=KAPPA, critical=0.45):
    x = (P - P_C) * SIZES[:, None] ** (1 / NU)
    return critical + SIZES[:, None] ** -kappa * SHAPES[shape](x)


@functools.cache
def found(shape, noise=0.0, seed=0, normalised=True, grid=21):
    accuracy = curves(shape)
    accuracy = accuracy + noise * np.random.default_rng(seed).normal(
        size=accuracy.shape
    )
    return collapse(P, accuracy, SIZES, normalised=normalised, grid=grid, **SEARCH)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_normalised_score_recovers_the_truth(shape):
    got = found(shape, grid=41)
    assert abs(got.p_c - P_C) <= 1e-3
    assert abs(got.kappa - KAPPA) <= 0.01
    assert abs(got.nu - NU) <= 0.1
    assert got.at_edge == ()
    assert got.score < 1e-4


@pytest.mark.parametrize("shape", SHAPES)
def test_the_normalised_score_recovers_the_truth_from_noisy_curves(shape):
    for seed in range(4):
        got = found(shape, noise=0.002, seed=seed)
        assert abs(got.p_c - P_C) <= 0.003
        assert abs(got.kappa - KAPPA) <= 0.05
        assert got.at_edge == ()


@pytest.mark.parametrize("noise", [0.0, 0.002])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_score_that_is_not_normalised_is_degenerate_and_says_so(shape, noise):
    got = found(shape, noise=noise, normalised=False)
    assert "kappa" in got.at_edge
    np.testing.assert_allclose(got.kappa, SEARCH["kappa"][0])
    # shrinking every curve beats the truth by orders of magnitude, whatever the data
    values, scores = got.profiles["kappa"]
    assert scores.argmin() == 0
    assert scores[0] < 1e-6 * scores[np.abs(values - KAPPA).argmin()]


def test_profiles_cover_the_ranges_and_are_least_near_the_best():
    got = found("tanh", noise=0.002, grid=41)
    assert set(got.profiles) == set(SEARCH)
    for name, (values, scores) in got.profiles.items():
        assert values.shape == scores.shape == (41,)
        np.testing.assert_allclose(values[[0, -1]], SEARCH[name])
        assert (np.diff(values) > 0).all()
        step = np.diff(values).max()
        assert abs(values[scores.argmin()] - getattr(got, name)) <= 2 * step
        # the search goes on from the best of the grid
        assert got.score <= scores.min()
    ratios = got.profiles["nu"][0][1:] / got.profiles["nu"][0][:-1]
    np.testing.assert_allclose(ratios, ratios[0])


def test_the_score_against_loops_over_points():
    """Two parameters and three, at one node, in plain NumPy."""
    accuracy = curves() + 0.01 * np.random.default_rng(0).normal(size=(5, 30))
    p_c, nu, kappa = 0.94, 1.7, 0.3
    for three, window in ((True, (-np.inf, np.inf)), (False, (0.35, 0.6))):
        reference = [np.interp(p_c, P, a) if three else 0.0 for a in accuracy]
        power = SIZES ** (kappa if three else 0.0)
        x = (P - p_c) * SIZES[:, None] ** (1 / nu)
        pairs = []
        for t in range(5):
            for j in range(30):
                if not window[0] <= accuracy[t, j] <= window[1]:
                    continue
                there = []
                for s in range(5):
                    value = np.interp(x[t, j], x[s], accuracy[s])
                    if s == t:
                        value = accuracy[t, j]
                    elif not x[s, 0] <= x[t, j] <= x[s, -1]:
                        continue
                    if window[0] <= value <= window[1]:
                        there.append(power[s] * (value - reference[s]))
                if len(there) > 1:
                    pairs.append(there)
        within_sum = sum(((np.array(v) - np.mean(v)) ** 2).sum() for v in pairs)
        flat = np.concatenate(pairs)
        for normalised in (True, False)[: 1 + three]:
            score = collapse_scores.scores(
                P,
                accuracy,
                SIZES,
                np.array(window),
                *(np.array([v]) for v in (p_c, nu, kappa if three else 0.0)),
                centred=three,
                normalised=normalised,
            )
            expected = within_sum / flat.size / (flat.var() if normalised else 1)
            # differences of sums of squares, all of the size of the variance times
            # the number of points
            largest = flat @ flat / flat.size / (flat.var() if normalised else 1)
            np.testing.assert_allclose(score, expected, atol=ROUNDING * 150 * largest)


def test_two_parameters_are_found_where_curves_need_no_shift():
    accuracy = curves(kappa=0.0)
    for noise in (0.0, 0.005):
        noisy = accuracy + noise * np.random.default_rng(0).normal(size=accuracy.shape)
        got = collapse(P, noisy, SIZES, p_c=(0.92, 0.98), nu=(0.5, 6.0), grid=21)
        assert got.kappa is None
        assert set(got.profiles) == {"p_c", "nu"}
        assert abs(got.p_c - P_C) <= 0.003
        assert abs(got.nu - NU) <= 0.25
        assert got.at_edge == ()


def test_two_parameters_use_the_window_alone():
    accuracy = curves(kappa=0.0)
    # outside of the window the sizes have nothing in common
    spoilt = np.where((accuracy > 0.12) & (accuracy < 0.78), accuracy, 0.0)
    spoilt += np.where(accuracy >= 0.78, 0.8 + 0.04 * np.arange(5)[:, None], 0.0)
    options: dict[str, Any] = {"p_c": (0.92, 0.98), "nu": (0.5, 6.0), "grid": 21}
    got = collapse(P, spoilt, SIZES, window=(0.12, 0.78), **options)
    assert abs(got.p_c - P_C) <= 0.003
    wide = collapse(P, spoilt, SIZES, window=(-0.01, 1.0), **options)
    assert wide.score > 10 * got.score


def test_scaled_curves_fall_on_one():
    got = found("steep tanh", grid=41)
    x, y = got.scaled(P, curves("steep tanh"), SIZES)
    assert x.shape == y.shape == (5, 30)
    shape = SHAPES["steep tanh"]
    # the exponents are found to a step of the fine grid, half a percent of a fall
    np.testing.assert_allclose(y, shape(x), atol=0.03)
    options: dict[str, Any] = {"p_c": (0.92, 0.98), "nu": (0.5, 6.0), "grid": 21}
    two = collapse(P, curves(kappa=0.0), SIZES, **options)
    np.testing.assert_array_equal(two.scaled(P, curves(), SIZES)[1], curves())


def test_a_truth_outside_of_its_range_is_at_the_edge():
    nu, kappa = SEARCH["nu"], SEARCH["kappa"]
    coarse = functools.partial(collapse, P, curves(), SIZES, kappa=kappa, grid=21)
    assert "p_c" in coarse(p_c=(0.96, 0.98), nu=nu).at_edge
    assert "nu" in coarse(p_c=SEARCH["p_c"], nu=(3.0, 6.0)).at_edge


def test_curves_with_nothing_in_common_have_no_collapse():
    apart = np.linspace(0.5, 0.45, 30) * np.array([1.0, 0.3])[:, None]
    window = (0.2, 0.6)
    got = collapse(P, apart, [1.0, 2.0], p_c=(0.92, 0.98), nu=(1.0, 2.0), window=window)
    assert got.score == np.inf
    assert np.isnan([got.p_c, got.nu]).all()
    assert got.at_edge == ()


def test_bootstrap_gives_intervals_and_the_share_at_an_edge():
    rng = np.random.default_rng(0)
    samples = curves() + 0.004 * rng.normal(size=(6, *curves().shape))
    run = functools.partial(
        bootstrap_collapse, P, samples, SIZES, resamples=10, grid=21
    )
    intervals, edges = run(rng=np.random.default_rng(1), **SEARCH)
    assert set(intervals) == set(edges) == set(SEARCH)
    for name, truth in (("p_c", P_C), ("nu", NU), ("kappa", KAPPA)):
        got = intervals[name]
        assert got.low < got.high
        assert (got.failed, got.resamples) == (0, 10)
        # a percentile interval of 10 resamples of 6 repeats is narrow: twice of it
        slack = got.high - got.low
        assert got.low - slack <= truth <= got.high + slack
    assert set(edges.values()) == {0.0}
    few = {**SEARCH, "resamples": 2}
    first, again = (run(rng=np.random.default_rng(1), **few)[0] for _ in range(2))
    assert again == first
    _, edges = run(rng=rng, normalised=False, **{**SEARCH, "resamples": 4})
    assert edges["kappa"] == 1.0


def test_crossings_of_lines_are_exact():
    p = np.array([0.9, 0.92, 0.96, 0.98])
    curves = np.array(
        [
            [0.80, 0.40, 0.20, 0.10],
            [0.80, 0.12, 0.60, 0.10],  # first time down, whatever comes after
            [0.80, 0.60, 0.40, 0.30],  # never
            [0.10, 0.60, 0.10, 0.10],  # below from the start
            [0.80, np.nan, 0.1, 0.1],  # ends before
            [0.80, 0.10, np.nan, 0.1],
        ]
    )
    expected = [
        0.96 + 0.02 / 2,
        0.9 + 0.02 * 0.65 / 0.68,
        np.nan,
        np.nan,
        np.nan,
        0.9 + 0.02 * 0.65 / 0.7,
    ]
    got = threshold_crossing(p, curves, 0.15)
    np.testing.assert_allclose(got, expected, rtol=ROUNDING)
    stacked = threshold_crossing(p, curves.reshape(2, 3, 4), 0.15)
    np.testing.assert_array_equal(stacked, got.reshape(2, 3))
    np.testing.assert_allclose(threshold_crossing(p, curves[0], 0.15), expected[0])


def test_the_running_minimum_is_interpolated():
    # after 0.2 the curve rises to 0.5: the minimum stays, and falls again from there
    got = threshold_crossing([0.0, 1.0, 2.0, 3.0], [0.8, 0.2, 0.5, 0.1], 0.15)
    np.testing.assert_allclose(got, 2.5)


def test_a_power_law_is_exact_and_gaps_are_counted():
    sizes = np.array([16.0, 64, 256, 1024, 4096])
    distance = 0.7 * sizes**-0.4
    distance[2] = np.nan
    got = power_law(sizes, distance)
    np.testing.assert_allclose([got.amplitude, got.exponent], [0.7, 0.4])
    assert abs(got.r2 - 1) < 1e-12
    assert got.exponent_stderr < 1e-8
    assert (got.used, got.dropped) == (4, 1)


def test_the_standard_error_of_an_exponent():
    rng = np.random.default_rng(0)
    sizes = 2.0 ** np.arange(4, 12)
    fits = [
        power_law(sizes, 0.7 * sizes**-0.4 * np.exp(0.1 * rng.normal(size=8)))
        for _ in range(400)
    ]
    exponents = np.array([fit.exponent for fit in fits])
    within(exponents, 0.4)
    errors = np.array([fit.exponent_stderr for fit in fits])
    x = np.log(sizes)
    within(errors**2, 0.1**2 / ((x - x.mean()) ** 2).sum())


def test_a_power_law_of_too_few_points():
    two = power_law([1.0, 2.0], [1.0, 0.5])
    np.testing.assert_allclose(two.exponent, 1.0)
    assert np.isnan(two.exponent_stderr)
    for sizes, distance in (([1.0, 2], [np.nan, 1]), ([3.0, 3], [1.0, 2])):
        got = power_law(sizes, distance)
        assert np.isnan(
            [got.amplitude, got.exponent, got.exponent_stderr, got.r2]
        ).all()
    none = power_law([1.0, 2.0], [np.nan, np.nan])
    assert np.isnan(none.exponent)
    assert (none.used, none.dropped) == (0, 2)


def test_bad_input():
    good = curves()
    options: dict[str, Any] = {"p_c": (0.92, 0.98), "nu": (0.5, 6.0)}
    with raises("`p` must hold two increasing levels or more, got [0.9, 0.8]"):
        threshold_crossing([0.9, 0.8], [0.5, 0.1], 0.15)
    with raises("`accuracy` must have one entry per level on its last axis, 30, got"):
        collapse(P, good.T, SIZES, **options)
    with raises("`accuracy` must be one curve per size, (4, 30), got shape (5, 30)"):
        collapse(P, good, SIZES[:4], **options)
    for sizes in (-SIZES, np.full(5, 7.0)):
        with raises("`sizes` must be two positive ones or more, got ["):
            collapse(P, good, sizes, **options)
    with raises("`accuracy` must be finite, got nan 42 times"):
        collapse(P, np.where(good > 0.6, np.nan, good), SIZES, **options)
    with raises("`p_c` must be a range, low < high, got (0.98, 0.92)"):
        collapse(P, good, SIZES, p_c=(0.98, 0.92), nu=(1.0, 2.0))
    with raises("`window` must be a range, low < high, got (1.0, 0.0)"):
        collapse(P, good, SIZES, window=(1.0, 0.0), **options)
    with raises("`nu` must be positive, got the range (-1.0, 2.0)"):
        collapse(P, good, SIZES, p_c=(0.92, 0.98), nu=(-1.0, 2.0))
    with raises(
        "`p_c` must be inside the levels 0.9 ... 0.995 where kappa is searched"
    ):
        collapse(P, good, SIZES, p_c=(0.92, 1.0), nu=(1.0, 2.0), kappa=(-1.0, 1.0))
    with raises("`grid` must be at least 5, got 4"):
        collapse(P, good, SIZES, grid=4, **options)
    with raises("`samples` must hold at least two repeats on its first axis"):
        bootstrap_collapse(
            P, good[None], SIZES, rng=np.random.default_rng(0), **options
        )
    with raises("`distance` must be positive and finite, got 0.0"):
        power_law([1, 2], [0, 0.5])
    with raises("`sizes` must be positive and finite, got 0.0"):
        power_law([0, 2], [1, 0.5])
    with raises("`distance` must have one entry per size, got shapes (1,) and (2,)"):
        power_law([1, 2], [1])
