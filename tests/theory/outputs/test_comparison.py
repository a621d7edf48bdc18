"""Two routes side by side: the numbers against NumPy and hand-made decisions."""

import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises, within

from theory.outputs.comparison import centred, compare
from theory.outputs.draws import Draws
from theory.outputs.law import OutputLaw
from theory.outputs.statistics import fit_line

N, C = 9, 4
LABELS = np.arange(N) % C


def make_draws(seed=0, draws=5, inits=2, keys=None, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    signal = np.eye(C)[LABELS]
    outputs = shift + scale * (signal + rng.normal(size=(draws, inits, N, C)))
    if keys is not None:
        keys = jnp.asarray(np.stack([[0, keys + k] for k in range(draws)]), jnp.uint32)
    return Draws(outputs=jnp.asarray(outputs), draw_keys=keys)


def make_law(seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(N, C, 2 * C))
    return OutputLaw(
        mean=jnp.asarray(np.eye(C)[LABELS] + rng.normal(size=(N, C))),
        cov=jnp.asarray(noise * np.einsum("nik,njk->nij", a, a)),
        init_var=jnp.full((N,), jnp.nan),
    )


def one_hot_draws(decisions, inits=1, keys=True):
    """Draws that decide as told: (draw, init, point)."""
    decisions = np.asarray(decisions)
    outputs = np.eye(C)[decisions]
    k = len(decisions)
    raw = jnp.asarray(np.stack([np.zeros(k), np.arange(k)], 1), jnp.uint32)
    return Draws(outputs=jnp.asarray(outputs), draw_keys=raw if keys else None)


PAIRS = {
    "law-law": (make_law(0), make_law(1)),
    "law-draws": (make_law(0), make_draws(1)),
    "draws-law": (make_draws(1), make_law(0)),
    "draws-draws": (make_draws(0), make_draws(1, draws=3, inits=1)),
}


def mean_of(route):
    if isinstance(route, OutputLaw):
        return np.asarray(route.mean)
    return np.asarray(route.outputs).mean(axis=(0, 1))


@pytest.mark.parametrize(("first", "second"), PAIRS.values(), ids=PAIRS)
def test_line_is_that_of_numpy(first, second):
    got = compare(first, second, LABELS)
    x, y = mean_of(first).ravel(), mean_of(second).ravel()
    slope, intercept = np.polyfit(x, y, 1)
    np.testing.assert_allclose([got.slope, got.intercept], [slope, intercept])
    np.testing.assert_allclose(got.r2, np.corrcoef(x, y)[0, 1] ** 2)
    np.testing.assert_allclose(
        got.accuracy, [first.accuracy(LABELS), second.accuracy(LABELS)]
    )
    np.testing.assert_allclose(got.gap, got.accuracy[1] - got.accuracy[0])
    assert not got.common_draws


def test_a_route_agrees_with_itself_and_with_its_multiple():
    draws = make_draws(keys=3)
    tripled = Draws(outputs=3 * draws.outputs + 0.5, draw_keys=draws.draw_keys)
    got = compare(draws, tripled, LABELS)
    np.testing.assert_allclose(
        [got.agreement, got.slope, got.intercept, got.r2, got.spread_ratio],
        [1.0, 3.0, 0.5, 1.0, 3.0],
    )
    assert (got.gap, got.gap_stderr, got.common_draws) == (0.0, 0.0, True)


def test_the_second_route_is_regressed_on_the_first():
    small, large = make_draws(0), make_draws(1)
    there, back = compare(small, large, LABELS), compare(large, small, LABELS)
    assert abs(there.slope * back.slope - there.r2) < 1e-12
    np.testing.assert_allclose(there.spread_ratio * back.spread_ratio, 1.0)
    np.testing.assert_allclose(there.gap, -back.gap)
    np.testing.assert_allclose(there.agreement, back.agreement)


def test_agreement_by_hand():
    # three points, two draws
    first = one_hot_draws([[[0, 1, 2]], [[0, 1, 3]]])
    second = one_hot_draws([[[0, 0, 2]], [[0, 1, 2]]])
    labels = np.array([0, 1, 2])
    got = compare(first, second, labels)
    assert got.common_draws
    # draw by draw: 2 of 3, then 2 of 3
    np.testing.assert_allclose(got.agreement, 2 / 3)
    # accuracies 1, 2/3 against 2/3, 1: differences -1/3, 1/3
    np.testing.assert_allclose(got.gap_stderr, 1 / 3)
    apart = compare(
        first, one_hot_draws([[[0, 0, 2]], [[0, 1, 2]]], keys=False), labels
    )
    assert not apart.common_draws
    # independent draws: 1, 1/2, 1/2 at the three points
    np.testing.assert_allclose(apart.agreement, 2 / 3)
    np.testing.assert_allclose(apart.gap_stderr, np.hypot(1 / 6, 1 / 6))


def test_agreement_tells_common_draws_from_independent_ones():
    # both follow the same coin in every draw
    coin = np.array([0, 1, 0, 1])[:, None, None] * np.ones((1, 1, 3), int)
    first = one_hot_draws(coin)
    labels = np.array([0, 0, 0])
    assert compare(first, one_hot_draws(coin), labels).agreement == pytest.approx(1)
    assert compare(
        first, one_hot_draws(coin, keys=False), labels
    ).agreement == pytest.approx(0.5)
    # equal keys in another order are other draws
    shuffled = Draws(outputs=first.outputs, draw_keys=first.draw_keys[::-1])
    assert not compare(first, shuffled, labels).common_draws
    fewer = Draws(outputs=first.outputs[:2], draw_keys=first.draw_keys[:2])
    assert not compare(first, fewer, labels).common_draws


def test_the_decision_of_a_law_is_that_of_its_mean():
    labels = np.arange(N) % 3
    law = OutputLaw(
        mean=jnp.asarray(np.eye(C)[labels]),
        cov=jnp.asarray(np.tile(np.eye(C), (N, 1, 1))),
        init_var=jnp.asarray(np.zeros(N)),
    )
    draws = one_hot_draws([[[0, 1, 3] * 3], [[0, 2, 2] * 3]])
    np.testing.assert_allclose(compare(law, draws, labels).agreement, (1 + 0.5 * 2) / 3)
    np.testing.assert_allclose(compare(law, law, labels).agreement, 1.0)


def test_errors_of_the_gap():
    a, b = make_draws(0), make_draws(1, draws=7)
    law = make_law()
    error_a, error_b = a.stderr(LABELS), b.stderr(LABELS)
    for first, second, expected in (
        (a, b, np.hypot(error_a, error_b)),
        (a, law, error_a),
        (law, b, error_b),
    ):  # 1e-6: frequencies of right decisions are float32
        got = compare(first, second, LABELS).gap_stderr
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert np.isnan(compare(law, law, LABELS).gap_stderr)
    assert np.isnan(compare(law, make_draws(draws=1), LABELS).gap_stderr)


def test_common_draws_take_the_common_noise_out_of_the_gap():
    rng = np.random.default_rng(4)
    common = rng.normal(size=(40, 1, N, C))
    first = Draws(
        outputs=jnp.asarray(common), draw_keys=make_draws(draws=40, keys=0).draw_keys
    )
    nearly = common + 0.05 * rng.normal(size=common.shape)
    paired = Draws(outputs=jnp.asarray(nearly), draw_keys=first.draw_keys)
    apart = Draws(outputs=jnp.asarray(nearly))
    gaps = [compare(first, second, LABELS) for second in (paired, apart)]
    assert gaps[0].gap == gaps[1].gap
    assert 0 < gaps[0].gap_stderr < gaps[1].gap_stderr / 2


def test_spread_ratio_compares_what_decisions_see():
    rng = np.random.default_rng(3)
    law = make_law()
    root = np.linalg.cholesky(np.asarray(law.cov))
    z = rng.normal(size=(4000, 1, N, C))
    outputs = np.asarray(law.mean) + 1.5 * np.einsum("nij,kmnj->kmni", root, z)
    common = 20 * rng.normal(size=(4000, 1, N, 1))
    draws = Draws(outputs=jnp.asarray(outputs + common))
    got = compare(law, draws, LABELS).spread_ratio
    centre = np.eye(C) - 1 / C
    deviation = ((outputs - outputs.mean(0)) @ centre) ** 2
    expected = np.trace(centre @ np.asarray(law.cov) @ centre, axis1=1, axis2=2).mean()
    within(deviation.sum(-1).mean((1, 2)), 2.25 * expected)
    np.testing.assert_allclose(got, 1.5, rtol=0.02)
    np.testing.assert_allclose(1 / compare(draws, law, LABELS).spread_ratio, got)
    # initialisations are averaged before
    many = np.repeat(outputs, 3, axis=1) + np.array([-5, 0, 5.0])[None, :, None, None]
    again = compare(law, Draws(outputs=jnp.asarray(many)), LABELS).spread_ratio
    np.testing.assert_allclose(again, got, rtol=1e-6)


def test_spread_is_estimated_without_bias():
    law, draws = make_law(), make_draws(draws=3)
    mean = np.asarray(draws.outputs).mean(axis=1)
    centred = mean - mean.mean(axis=-1, keepdims=True)
    expected = centred.var(axis=0, ddof=1).sum(-1).mean() / law.gap_variance().mean()
    got = compare(law, draws, LABELS).spread_ratio
    np.testing.assert_allclose(got**2, expected, rtol=1e-12)


def test_a_single_draw_has_no_spread():
    got = compare(make_law(), make_draws(draws=1), LABELS)
    assert np.isnan(got.spread_ratio)
    assert np.isfinite(got.gap)


def test_without_spread_the_ratio_is_not_a_number():
    # p = 0: all draws are alike
    still = Draws(outputs=jnp.repeat(make_draws(draws=1).outputs, 2, axis=0))
    assert np.isnan(compare(still, still, LABELS).spread_ratio)
    assert np.isinf(compare(still, make_draws(), LABELS).spread_ratio)


def test_results_are_plain_numbers():
    got = compare(make_law(), make_draws(), LABELS)
    for name, value in vars(got).items():
        if name == "accuracy":
            assert [type(v) for v in value] == [float, float]
        else:
            assert type(value) is (bool if name == "common_draws" else float), name


def test_routes_that_do_not_share_points_or_classes():
    law = make_law()
    fewer = Draws(outputs=make_draws().outputs[:, :, :-1])
    with raises("the routes must share test points and classes, got (9, 4) and (8, 4)"):
        compare(law, fewer, LABELS)
    narrow = Draws(outputs=make_draws().outputs[..., :-1])
    with raises("the routes must share test points and classes, got (9, 3) and (9, 4)"):
        compare(narrow, law, LABELS)
    with raises("`labels` must have one entry per test point, 9, got shape (8,)"):
        compare(law, law, LABELS[:-1])


def test_a_line_is_found_under_known_noise():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 4))
    y = 0.7 * x - 0.2 + 0.3 * rng.normal(size=x.shape)
    line = fit_line(x, y, error=0.09)
    error = 0.3 / x.size**0.5
    assert abs(line.slope - 0.7) < 5 * error
    assert abs(line.intercept + 0.2) < 5 * error
    # all that the line leaves is the known error, known to sqrt(2/20 000)
    assert abs(line.r2 - 1) < 5 * 0.01 * 0.09 / 0.49
    np.testing.assert_allclose(line.rmse, 0.3, rtol=0.03)
    without = fit_line(x, y).r2
    np.testing.assert_allclose(without, 0.49 / 0.58, rtol=0.02)
    assert np.isnan(fit_line(x, y, error=0.5).r2)


def test_centring_takes_out_what_classes_share():
    array = np.arange(24.0).reshape(2, 4, 3)
    np.testing.assert_allclose(centred(array + 5), centred(array))
    np.testing.assert_allclose(centred(array).sum(-1), 0, atol=1e-12)
