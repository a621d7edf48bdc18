"""Interpolated sums over rows against the sums, and where they are not used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noisy_features import changed, make

from theory.regression import equivalent, row_sums

# What `nodes_needed` promises in float64.
ERROR = 1e-8


def rows_of(ratio, n=5000, m=7, seed=0):
    """Rows whose bases differ by a factor, more of them than a block."""
    rows, _, _ = make(n=n, m=m, seed=seed)
    unit = (rows.base - rows.base.min()) / (rows.base.max() - rows.base.min())
    return changed(rows, base=0.5 * (1 + (ratio - 1) * np.asarray(unit) ** 2))


@pytest.mark.parametrize("ratio", [1.0, 1.05, 1.5, 2.0])
def test_sums_are_as_near_as_promised(ratio):
    rows = rows_of(ratio)
    count = row_sums.nodes_needed(rows.base)
    assert count is not None
    found = row_sums.moments(rows.base, rows.mean, count=count)
    least = float(row_sums.least_shift(rows.base))
    for shift in (least, 0.0, 0.1, 3.0):
        expected = row_sums.direct(rows.mean, rows.base + shift)
        sums = row_sums.interpolated(found, jnp.asarray(shift))
        for one, other in zip(sums, expected, strict=True):
            # relative to the sum with all signs alike
            size = np.sqrt(np.outer(np.diagonal(other), np.diagonal(other)))
            assert np.abs((one - other) / size).max() < ERROR


def test_few_nodes_are_not_enough():
    # so that the moments are seen, and the bound is not of another order
    rows = rows_of(2.0)
    count = row_sums.nodes_needed(rows.base)
    assert count is not None
    found = row_sums.moments(rows.base, rows.mean, count=count - 6)
    least = row_sums.least_shift(rows.base)
    first, _, _ = row_sums.interpolated(found, least)
    expected, _, _ = row_sums.direct(rows.mean, rows.base + least)
    assert np.abs(first / expected - 1).max() > ERROR


@pytest.mark.parametrize("seed", [0, 1])
def test_the_solution_is_that_of_the_sums(seed):
    rows = rows_of(1.5, seed=seed)
    moments = equivalent.moments_of(rows)
    assert moments is not None
    one, other = equivalent.solve(rows), equivalent.solve(rows, None, moments)
    assert float(one.shift) > 0
    for name in ("tau", "omega", "lam", "second", "third", "y_rows", "kernel"):
        expected = np.asarray(getattr(one, name))
        # 5 000 rows determine 7 features: the inverse of the sums is well conditioned
        np.testing.assert_allclose(
            getattr(other, name), expected, rtol=0, atol=1e-6 * np.abs(expected).max()
        )
    assert float(other.residual) < 1e4 * np.finfo(float).eps


def test_float32_among_float64():
    rows = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), rows_of(1.5))
    moments = equivalent.moments_of(rows)
    assert moments is not None
    one, other = equivalent.solve(rows), equivalent.solve(rows, None, moments)
    assert other.tau.dtype == other.lam.dtype == jnp.float32
    # sums over 5 000 rows, of some roundings each
    eps = float(np.finfo(np.float32).eps)
    np.testing.assert_allclose(other.tau, one.tau, rtol=100 * eps)
    np.testing.assert_allclose(other.lam, one.lam, rtol=0, atol=1000 * eps)


@pytest.mark.parametrize(("noise", "enough"), [(5e-6, True), (2e-5, False)])
def test_noise_of_entries_that_makes_bases_small(noise, enough):
    # bases from .5 to .75 less about .07, and about .4, which the moments are not for
    rows = changed(rows_of(1.5), entry_noise=noise)
    moments = equivalent.moments_of(rows)
    one, other = equivalent.solve(rows), equivalent.solve(rows, None, moments)
    assert float(one.shift) < 0
    assert (float(one.shift) > row_sums.least_shift(rows.base)) == enough
    if enough:
        np.testing.assert_allclose(other.tau, one.tau, rtol=ERROR)
        assert other.tau != one.tau
    else:
        np.testing.assert_array_equal(other.tau, one.tau)


@pytest.mark.parametrize("base", [[0.4, 1.0], [-0.1, 1.0], [0.0, 1.0], [np.nan, 1.0]])
def test_bases_that_differ_much_are_summed(base):
    base = jnp.tile(jnp.asarray(base), 2000)
    assert row_sums.nodes_needed(base) is None
    near = jnp.ones_like(base)
    assert row_sums.nodes_needed(near) is not None
    assert row_sums.nodes_needed(near[:1000]) is None


def test_derivatives_are_those_of_the_sums():
    rows = rows_of(1.5)
    seen = []

    def solved(scale):
        scaled = changed(rows, mean=rows.mean * scale)
        seen.append(equivalent.moments_of(scaled))
        return (equivalent.solve(scaled, None, seen[-1]).y_features ** 2).sum()

    slope = jax.grad(solved)(1.0)
    assert seen == [None]
    step = 1e-5
    above, below = solved(1 + step), solved(1 - step)
    assert seen[1] is not None
    # the moments are wrong by 1e-8, alike on both sides; steps by the square of theirs
    np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=1e-5)
