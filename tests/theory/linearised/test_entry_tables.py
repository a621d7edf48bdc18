"""Interpolated kernel rows against the rows, and where they are not used."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import prototypes

import theory
from theory.linearised import entry_tables, tabulate
from theory.linearised.image_moments import image_moments
from theory.linearised.landmarks import choose
from theory.linearised.linearise import scales_at
from theory.linearised.mean_kernel import given, mean_entry, mean_kernel
from theory.linearised.training_kernel import moments

ARCH = theory.Architecture(depth=3, activation="erf")
NOISE = theory.Replacement(p=0.7)
IMAGES = (75,) * 4


@pytest.fixture(autouse=True)
def few_entries_are_enough(monkeypatch):
    monkeypatch.setattr(tabulate, "_ENTRIES", 0)


def trained(arch=ARCH, noise=NOISE, kind="standardised"):
    """Training images with their tilts, their slopes, and test points."""
    problem = prototypes(IMAGES, n_test=400, d=300, kind=kind)
    train = moments(problem.x_train, arch, noise)
    measured = choose(arch, train, 100, jnp.zeros(())).measured
    return measured.train, scales_at(measured, 0.0)[0].slope, problem.x_test


tabulated = tabulate.tabulate
rows, exactly = jax.jit(entry_tables.rows), jax.jit(mean_kernel)
known = jax.jit(entry_tables.known)


@pytest.mark.parametrize(
    ("activation", "noise", "kind"),
    [
        ("erf", NOISE, "standardised"),
        pytest.param("relu", NOISE, "standardised", marks=pytest.mark.slow),
        pytest.param(*("relu", theory.Additive(p=0.7), "raw"), marks=pytest.mark.slow),
        pytest.param(
            *("gelu", theory.Replacement(p=0.5, noise=theory.Uniform(0.0, 1.0))),
            "unit",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_entries_of_many_points(activation, noise, kind):
    arch = dataclasses.replace(ARCH, activation=activation)
    train, slope, x = trained(arch, noise, kind)
    tables = tabulated(arch, train, slope, x)
    assert tables is not None
    assert (len(tables.weights) == 1) == (kind == "standardised")
    test = image_moments(x, arch, None)
    found, expected = rows(tables, arch, test), exactly(test, train, arch)
    linear = known(tables, arch, train, test, found.linear)
    apart = {"nngp": found.entries.nngp, "ntk": linear + found.beyond}
    for name, one in apart.items():
        one, other = np.asarray(one), np.asarray(getattr(expected, name))
        spread = (other - other.mean(axis=0)).std()
        # the promise, with some room for points that were not looked at
        assert np.abs(one - other).max() < 3e-4 * spread
        assert ((one - other) ** 2).mean() ** 0.5 < 2e-5 * spread
    # in float32, what is left is small beside the entries, and so are its roundings
    assert found.beyond.dtype == jnp.float32
    assert np.abs(found.beyond).max() < 0.5 * np.abs(expected.ntk).max()
    whole = np.asarray(found.entries.ntk, float)
    # 300 products, each rounded
    rounding = 300**0.5 * 1e-7 * np.abs(apart["ntk"]).max()
    np.testing.assert_allclose(whole, apart["ntk"], rtol=0, atol=rounding)


# weekly: the entries themselves are compared always
@pytest.mark.slow
def test_the_law_is_that_of_the_entries(monkeypatch):
    problem = prototypes(IMAGES, n_test=401, d=300, spread=3.0)
    seen, right = [], entry_tables.rows
    monkeypatch.setattr(
        entry_tables, "rows", lambda *args: seen.append(0) or right(*args)
    )
    one = theory.resummed(ARCH, NOISE, problem)
    used = len(seen)
    assert used > 0
    monkeypatch.setattr(tabulate, "_ENTRIES", 1_000_000)
    other = theory.resummed(ARCH, NOISE, problem)
    assert len(seen) == used
    assert 0 < one.diagnostics["entry_error"] < 1e-4
    assert other.diagnostics["entry_error"] == 0
    mean = np.asarray(other.mean)
    np.testing.assert_allclose(
        one.mean, mean, rtol=0, atol=1e-3 * (mean - mean.mean(axis=0)).std()
    )
    cov = np.asarray(other.cov)
    np.testing.assert_allclose(np.asarray(one.cov), cov, rtol=0, atol=1e-4 * cov.max())
    np.testing.assert_allclose(
        np.asarray(one.init_var), np.asarray(other.init_var), rtol=1e-4
    )


@pytest.mark.slow
def test_the_law_in_float32_among_float64():
    problem = prototypes(IMAGES, n_test=400, d=300, spread=3.0)
    one, other = (
        theory.resummed(ARCH, NOISE, problem.astype(dtype))
        for dtype in (jnp.float32, jnp.float64)
    )
    assert one.mean.dtype == jnp.float32
    mean, spread = np.asarray(other.mean), np.asarray(other.mean).std(axis=0).mean()
    np.testing.assert_allclose(one.mean, mean, rtol=0, atol=1e-3 * spread)
    init_var = np.asarray(other.init_var)
    np.testing.assert_allclose(np.asarray(one.init_var), init_var, rtol=1e-3)


def test_covariances_move_what_they_should():
    """Without the slopes, and without the pole, a few entries are not met."""
    arch = dataclasses.replace(ARCH, activation="relu")
    train, slope, x = trained(arch)
    tables = tabulated(arch, train, slope, x)
    assert tables is not None
    error, allowed = tabulate._error(arch, train, x[:64], tables)
    assert error <= allowed
    assert 0 < float(tables.error) <= allowed
    none = jax.tree.map(jnp.zeros_like, tables.slopes)
    without = dataclasses.replace(tables, slopes=none)
    error, allowed = tabulate._error(arch, train, x[:64], without)
    assert error > allowed
    far = dataclasses.replace(tables, length=tables.length * (1 + 1e-3))
    error, allowed = tabulate._error(arch, train, x[:64], far)
    assert error > allowed


def test_powers_of_the_covariance_with_q():
    """A slope alone would miss entries where it reaches half of its bound."""
    train, _, x = trained(noise=theory.Replacement(p=0.9))
    few = jax.tree.map(lambda leaf: leaf[:20], train)
    shares = tabulate._shares(ARCH, few, x)
    length, u = jnp.ones((1,)), jnp.full((1,), 0.3)
    found = tabulate._at_nodes(ARCH, few, shares, length, u)
    entry, slopes, curves = (each.ntk[0, 0] for each in found)
    k = ARCH.b_var + u[0] * entry_tables.length_of(ARCH, few.mean)
    q = jnp.full_like(k, ARCH.b_var + 1)
    scale = entry_tables.Scale.of(ARCH, few)

    def expected(with_q):
        at = shares.var, with_q, shares.with_centre
        value = mean_entry(given(few, ARCH, q, k, *at), ARCH).ntk
        return value / (1 + scale.square(*at) / 2)

    far = 0.5 * jnp.sqrt(shares.var * few.q_var)
    middle, moved = expected(shares.with_q), far - shares.with_q
    change = expected(far) - middle
    linear = slopes[1] * moved
    others = curves[0] * moved**2 + curves[1] * moved**3
    missed = jnp.abs(linear - change).max()
    assert missed > 0.1 * jnp.abs(change).max()
    # what is left is the fourth power, which is not kept
    assert jnp.abs(linear + others - change).max() < missed / 10


def test_a_pole_is_bounded_by_the_variance_of_the_tilt():
    train, *_ = trained()
    scale = entry_tables.Scale.of(ARCH, train)
    assert (scale.left > 0).all()
    # k that is all q: by rounding, less is left of it than nothing
    with_q, with_centre = jnp.sqrt(train.q_var), jnp.ones_like(train.q)
    for var in (1 - 1e-12, 1.0, 1 + 1e-12):
        found = scale.bounded(var * jnp.ones_like(with_q), with_q, with_centre)
        assert ((found >= 0) & (found <= scale.left)).all()


def test_what_is_not_tabulated(monkeypatch):
    train, slope, x = trained()
    assert tabulated(ARCH, train, slope, x) is not None
    assert tabulated(ARCH, train, slope, x[:20]) is None  # entries are cheaper
    assert tabulated(ARCH, train, slope, 0 * x) is None
    # lengths that differ by a factor of a hundred
    scale = np.geomspace(0.1, 10, len(x))[:, None]
    assert tabulated(ARCH, train, slope, x * scale) is None
    traced = []
    jax.eval_shape(lambda x: traced.append(tabulated(ARCH, train, slope, x)), x)
    assert traced == [None]
    monkeypatch.setattr(tabulate, "_ENTRIES", len(x) * len(train.q) + 1)
    assert tabulated(ARCH, train, slope, x) is None
