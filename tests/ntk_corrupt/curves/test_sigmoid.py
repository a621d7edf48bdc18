"""Midpoint, slope, intervals and collapse of accuracy curves of known shape."""

import numpy as np
import pytest
import scipy.stats
from closeness import raises, within

from ntk_corrupt.curves.bootstrap import bootstrap
from ntk_corrupt.curves.collapse_quality import collapse_quality
from ntk_corrupt.curves.crossings import first_crossing, half_height
from ntk_corrupt.curves.sigmoid import fit_sigmoid

P = np.linspace(0, 1, 21)
TRUTH = {"top": 0.9, "midpoint": 0.7, "width": 0.08}
CHANCE = 0.1


def sigmoid(p, top=0.9, midpoint=0.7, width=0.08):
    return CHANCE + (top - CHANCE) / (1 + np.exp((p - midpoint) / width))


def test_a_sigmoid_is_found_exactly():
    fit = fit_sigmoid(P, sigmoid(P), chance=CHANCE)
    assert fit.ok
    assert fit.reason == ""
    for name, value in TRUTH.items():
        np.testing.assert_allclose(getattr(fit, name), value, rtol=1e-6)
    np.testing.assert_allclose(fit.slope, 0.8 / (4 * 0.08), rtol=1e-6)
    # the slope is that of the curve, by a finite difference
    step = 1e-5
    ahead, behind = fit.at([fit.midpoint + step, fit.midpoint - step])
    np.testing.assert_allclose((behind - ahead) / (2 * step), fit.slope, rtol=1e-6)
    np.testing.assert_allclose(fit.at(P), sigmoid(P), atol=1e-7)
    assert fit.rms < 1e-7
    assert fit.trusted("width") == fit.width


@pytest.mark.parametrize("width", [0.01, 0.03, 0.2])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_units_and_order_of_the_strengths_do_not_matter(width, scale):
    order = np.random.default_rng(0).permutation(P.size)
    accuracy = sigmoid(P, midpoint=0.66, width=width)
    fit = fit_sigmoid(scale * P[order], accuracy[order], chance=CHANCE)
    assert fit.ok
    np.testing.assert_allclose(
        [fit.midpoint, fit.width], [scale * 0.66, scale * width], rtol=1e-5
    )


def test_noise_moves_the_fit_by_its_standard_error():
    noise, rng = 0.02, np.random.default_rng(0)
    fits = [
        fit_sigmoid(P, sigmoid(P) + noise * rng.normal(size=P.size), chance=CHANCE)
        for _ in range(100)
    ]
    assert all(fit.ok for fit in fits)
    found = np.array([[getattr(fit, name) for name in TRUTH] for fit in fits])
    theta, step = np.array([*TRUTH.values()]), 1e-5
    shifted = theta + step * np.eye(3)
    slopes = np.stack([(sigmoid(P, *t) - sigmoid(P)) / step for t in shifted], axis=1)
    stderr = noise * np.sqrt(np.diag(np.linalg.inv(slopes.T @ slopes)))
    # least squares is biased to second order in the noise
    within(found, theta, slack=0.1 * stderr)
    spread = found.std(axis=0, ddof=1) / stderr
    assert (np.abs(spread - 1) < 5 / np.sqrt(2 * len(fits))).all(), spread
    # 21 residuals less three parameters
    rms = np.array([fit.rms for fit in fits])
    within(rms**2, noise**2 * (1 - 3 / P.size))


def test_weights_count():
    accuracy = sigmoid(P)
    accuracy[[3, 12]] += 0.5
    weights = np.ones_like(P)
    weights[[3, 12]] = 0
    fit = fit_sigmoid(P, accuracy, chance=CHANCE, weights=weights)
    assert fit.ok
    np.testing.assert_allclose(fit.midpoint, TRUTH["midpoint"], rtol=1e-6)
    assert fit.rms < 1e-7
    # in any order, and only in proportion
    again = fit_sigmoid(
        P[::-1], accuracy[::-1], chance=CHANCE, weights=7 * weights[::-1]
    )
    np.testing.assert_allclose(again.width, TRUTH["width"], rtol=1e-6)
    # weight two is the same point twice: noise-free, of the residuals
    noisy = sigmoid(P) + 0.02 * np.random.default_rng(0).normal(size=P.size)
    twice = fit_sigmoid(
        np.append(P, P[12] + 1e-9), np.append(noisy, noisy[12]), chance=CHANCE
    )
    heavy = fit_sigmoid(
        P, noisy, chance=CHANCE, weights=1.0 + (np.arange(P.size) == 12)
    )
    np.testing.assert_allclose(heavy.midpoint, twice.midpoint, rtol=1e-6)
    assert heavy.midpoint != fit_sigmoid(P, noisy, chance=CHANCE).midpoint


UNDETERMINED = {
    "at chance": (np.full(21, CHANCE), "never above chance"),
    "flat": (np.full(21, 0.8), "midpoint"),
    "rising": (sigmoid(P)[::-1], ""),
    "step": (np.where(P < 0.62, 0.9, CHANCE), "no point where the curve falls"),
    "above its midpoint": (sigmoid(P, midpoint=1.2), "midpoint"),
}


@pytest.mark.parametrize(
    ("accuracy", "reason"), UNDETERMINED.values(), ids=UNDETERMINED
)
def test_what_the_points_do_not_determine_is_flagged(accuracy, reason):
    fit = fit_sigmoid(P, accuracy, chance=CHANCE)
    assert not fit.ok
    assert fit.reason
    assert reason in fit.reason
    assert np.isnan(fit.trusted("midpoint"))


def test_a_curve_without_its_plateau_is_flagged():
    p = np.linspace(0.9, 1, 11)
    fit = fit_sigmoid(p, sigmoid(p), chance=CHANCE)
    assert not fit.ok
    assert "the midpoint is at an end of the strengths" in fit.reason


def test_half_height_by_hand():
    # half of the way from 0.9 to 0.1 is 0.5, a third of the way down the last segment
    got = half_height([0, 0.4, 1.0], [0.9, 0.6, 0.3], chance=CHANCE)
    np.testing.assert_allclose(got, 0.4 + 0.6 / 3)
    shuffled = half_height([1.0, 0, 0.4], [0.3, 0.9, 0.6], chance=CHANCE)
    np.testing.assert_allclose(shuffled, got)
    fine = np.linspace(0, 1, 2001)
    assert abs(half_height(fine, sigmoid(fine), chance=CHANCE) - 0.7) < 1e-3


def test_half_height_of_a_curve_that_rises_on_its_way():
    # the nearest falling curve has 0.7 twice: (0.6 + 0.8)/2, and then 0.3
    got = half_height([0, 1, 2, 3], [0.9, 0.6, 0.8, 0.3], chance=CHANCE)
    np.testing.assert_allclose(got, 2 + (0.7 - 0.5) / (0.7 - 0.3))


def test_half_height_that_is_not_reached():
    assert np.isnan(half_height([0, 1], [0.9, 0.6], chance=CHANCE))
    assert np.isnan(half_height([0, 1], [0.1, 0.1], chance=CHANCE))
    assert np.isnan(half_height([0, 1], [0.05, 0.0], chance=CHANCE))


def test_a_crossing_on_a_point_is_that_point():
    x = np.array([0.0, 1.0, 2.0])
    curves = np.array([[0.9, 0.5, 0.1], [0.5, 0.4, 0.3], [0.4, 0.4, 0.3]])
    np.testing.assert_array_equal(first_crossing(x, curves, 0.5), [1.0, 0.0, np.nan])


def test_an_interval_of_the_mean_covers_as_often_as_it_should():
    trials, repeats = 500, 10
    rng = np.random.default_rng(1)
    hits = np.zeros(trials, bool)
    for i in range(trials):
        found = bootstrap(
            float, 3 + rng.normal(size=repeats), rng=rng, resamples=400, level=0.9
        )
        hits[i] = found.low <= 3 <= found.high
        assert found.low <= found.value <= found.high
        assert (found.failed, found.resamples) == (0, 400)
    # mean -+ z s/sqrt(R), s with 1/R in place of 1/(R-1)
    z = scipy.stats.norm.ppf(0.95) * np.sqrt(1 - 1 / repeats)
    expected = 1 - 2 * scipy.stats.t.sf(z, repeats - 1)
    # The ends are quantiles of 400: a standard error of .011 each in coverage, which
    # averages out over trials but for its curvature, and the mean is nearly Gaussian.
    assert abs(hits.mean() - expected) < 5 * np.sqrt(expected * (1 - expected) / trials)
    assert expected < 0.87


def test_an_interval_of_a_statistic_of_the_mean_curve():
    rng = np.random.default_rng(0)
    samples = sigmoid(P) + 0.02 * rng.normal(size=(12, P.size))

    def midpoint(curve):
        return fit_sigmoid(P, curve, chance=CHANCE).trusted("midpoint")

    found = bootstrap(midpoint, samples, rng=np.random.default_rng(3), resamples=100)
    assert found.value == midpoint(samples.mean(axis=0))
    # .0044 is the standard error of one curve, from the slopes in a test above
    assert 2 * 0.0044 / 12**0.5 < found.high - found.low < 6 * 0.0044 / 12**0.5
    same = bootstrap(midpoint, samples, rng=np.random.default_rng(3), resamples=100)
    assert same == found


def test_failures_are_counted():
    samples = np.array([0.0, 1.0, 2.0, 3.0])
    statistic = lambda mean: float(mean) if mean > 1 else np.nan
    found = bootstrap(statistic, samples, rng=np.random.default_rng(0), resamples=500)
    assert 0 < found.failed < 250
    assert found.low > 1
    none = bootstrap(lambda mean: np.nan, samples, rng=np.random.default_rng(0))
    assert np.isnan([none.value, none.low, none.high]).all()
    assert none.failed == none.resamples == 1000


def curves_of_sizes(shift):
    """Proxies and accuracies of three sizes that are one curve of p + shift."""
    proxies, accuracies = [], []
    for size in (0, 1, 2):
        proxies.append(P)
        accuracies.append(sigmoid(P - shift * size))
    return proxies, accuracies


def test_the_right_proxy_collapses_and_another_does_not():
    proxies, accuracies = curves_of_sizes(shift=0.05)
    right = [p - 0.05 * size for size, p in enumerate(proxies)]
    good, bad = (collapse_quality(x, accuracies) for x in (right, proxies))
    assert good.ratio < 1e-12
    assert good.overlap == pytest.approx((0.0, 0.9))
    # on the common grid P: the spread across sizes at every point, over all of it
    stacked = np.stack(accuracies)
    np.testing.assert_allclose(bad.within, np.sqrt(stacked.var(axis=0).mean()))
    np.testing.assert_allclose(bad.ratio, bad.within / stacked.std())
    assert 0.1 < bad.ratio < 1


def test_stretching_a_proxy_hardly_changes_its_score():
    fine = np.linspace(0.01, 1, 300)
    accuracies = [sigmoid(fine, midpoint=m) for m in (0.6, 0.65, 0.7)]
    plain = collapse_quality([fine] * 3, accuracies)
    stretched = collapse_quality([np.exp(5 * fine)] * 3, accuracies)
    turned = collapse_quality([-np.log(fine)] * 3, accuracies)
    for other in (stretched, turned):
        np.testing.assert_allclose(other.ratio, plain.ratio, rtol=1e-3)


def test_curves_without_spread_have_no_ratio():
    found = collapse_quality([P, P], [np.full(21, 0.5)] * 2)
    assert np.isnan(found.ratio)
    assert found.within == 0


def test_sizes_of_different_lengths_are_compared_where_they_overlap():
    line = lambda x: 1 - 0.5 * x
    a, b = np.array([0.0, 0.5, 1.0]), np.array([0.4, 0.8, 1.6, 2.0])
    found = collapse_quality([a, b], [line(a), line(b) + 0.1])
    assert found.overlap == (0.4, 1.0)
    np.testing.assert_allclose(found.within, 0.05)


def test_bad_input():
    accuracy = sigmoid(P)
    with raises("`accuracy` must have one entry per `strength`, got shapes (20,) and"):
        fit_sigmoid(P, accuracy[1:], chance=CHANCE)
    with raises("`accuracy` must be finite, got nan."):
        fit_sigmoid(P[:5], np.full(5, np.nan), chance=CHANCE)
    with raises(
        "`strength` must hold at least 4 values, all different, got [0.0, 1.0, 2.0]"
    ):
        fit_sigmoid([0, 1, 2], [0.9, 0.8, 0.7], chance=CHANCE)
    with raises(
        "`strength` must hold at least 2 values, all different, got [1.0, 1.0, 2.0]"
    ):
        half_height([1, 1, 2], [0.9, 0.8, 0.7], chance=CHANCE)
    with raises("`chance` must be between 0 and 1, got 10.0."):
        half_height(P, accuracy, chance=10.0)
    for weights in (-np.ones(21), np.ones(20), 1.0 * (P < 0.12)):
        with raises("`weights` must be one per strength, none negative and at least"):
            fit_sigmoid(P, accuracy, chance=CHANCE, weights=weights)
    rng = np.random.default_rng(0)
    for samples in (np.ones((1, 3)), np.array(1.0), [np.nan, 1.0]):
        with raises("`samples` must hold at least two repeats on its first axis"):
            bootstrap(np.max, samples, rng=rng)
    with raises("`resamples` must be at least 1, got 0"):
        bootstrap(np.max, [1.0, 2.0], rng=rng, resamples=0)
    with raises("`level` must be between 0 and 1, got 95.0"):
        bootstrap(np.max, [1.0, 2.0], rng=rng, level=95.0)
    with raises("one curve for each of two sizes or more, got 1 and 1"):
        collapse_quality([P], [accuracy])
    with raises("the largest first one is 2, the smallest last one 1"):
        collapse_quality([P, P + 2], [accuracy, accuracy])
    with raises("`proxy` must be finite, got inf"):
        collapse_quality([[np.inf, 1], [1, 2]], [[0.9, 0.8]] * 2)
