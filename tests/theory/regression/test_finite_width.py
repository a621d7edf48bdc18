"""Shares of hidden layers: closed forms of two and three layers, and differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory.regression import finite_width
from theory.regression.finite_width import Units

N, C, TESTS, WIDTH = 12, 3, 4, 9.0
RNG = np.random.default_rng(0)
Y = jnp.asarray(RNG.standard_normal((N, C)))
# Newton's method ends at the root of rounding, one step before what it would give.
SOLVED = 1e-7


def covariance(size=N + TESTS, seed=0):
    x = np.random.default_rng(seed).standard_normal((size, 2 * size))
    return x @ x.T / (2 * size)


def case(layers, *, constant=0.0, spread=False):
    """Units of so many hidden layers, and parts and kernel of all points."""
    wholes = np.stack([covariance(seed=at) for at in range(layers)])
    rest = covariance(seed=10) + 0.3 * np.eye(N + TESTS)
    direct = jnp.asarray([0.4, 0.6, 1.0][-layers:])
    passed = jnp.asarray([0.0, 0.7, 0.5][:layers])
    parts = wholes.copy()
    for at in range(1, layers):
        parts[at] = wholes[at] + 0.1 * wholes[at - 1]
    samples = RNG.standard_normal((layers, N, 50 if spread else 1))
    units = Units(
        rest=jnp.asarray(rest[:N, :N]),
        parts=jnp.asarray(parts[:, :N, :N]),
        direct=direct,
        passed=passed,
        samples=jnp.asarray(samples),
        constant=jnp.asarray(constant),
    )
    return units, rest, parts


@jax.jit
def solved(units, y, width):
    return finite_width.solve_shares(units, y, width)[0]


def predict(units, rest, parts, solution):
    """Residual functional of the test points, and the law's variances."""
    whole = rest + np.einsum("l,lij->ij", solution.shares, parts)
    rows = np.linalg.solve(whole[:N, :N], whole[:N, N:])
    found = finite_width.variances(
        units,
        solution,
        jnp.asarray(rows),
        jnp.asarray(parts[:, N:, :N]),
        jnp.asarray(np.diagonal(parts, axis1=1, axis2=2)[:, N:]),
    )
    return whole, np.concatenate([-rows.T, np.eye(TESTS)], axis=1), found


def quad(residual, matrix):
    return np.einsum("ti,ij,tj->t", residual, matrix, residual)


def test_two_layers_in_closed_form():
    units, rest, parts = case(1)
    solution = solved(units, Y, WIDTH)
    whole, residual, (start, learned) = predict(units, rest, parts, solution)
    c, q = parts[0][:N, :N], np.linalg.inv(whole[:N, :N])
    # (11.1)-(11.4) of the lazy law: shares 1/(1 + g), readout of rate one
    g = np.trace(c @ q) / WIDTH
    assert solution.shares[0] == pytest.approx(1 / (1 + g), rel=SOLVED)
    gamma = np.trace(c @ q @ c @ q) / WIDTH / (1 + g) ** 2
    v = quad(residual, parts[0]) / ((1 + g) ** 2 * (1 - gamma))
    np.testing.assert_allclose(start, v, rtol=SOLVED)
    mixed = np.asarray(Y).T @ q @ c @ q @ np.asarray(Y) / WIDTH
    np.testing.assert_allclose(learned, v[:, None, None] * mixed[None], rtol=SOLVED)


def test_three_layers_in_nested_form():
    # with the covariance of the first units for K2: every trace written out
    units, rest, parts = case(2)
    solution = solved(units, Y, WIDTH)
    whole, residual, (start, learned) = predict(units, rest, parts, solution)
    k2, m = parts[0], parts[1]
    t_b, t_a = float(units.direct[0]), float(units.passed[1])
    q = np.linalg.inv(whole[:N, :N])
    k2q, mq = k2[:N, :N] @ q, m[:N, :N] @ q
    g2 = 1 / float(solution.shares[1]) - 1
    c = t_a / (1 + g2) + t_b
    g1 = c / float(solution.shares[0]) - 1
    assert g1 == pytest.approx(c / WIDTH * np.trace(k2q), rel=1e-6)
    expected = (np.trace(mq) + t_a * np.trace(k2q) / (1 + g1)) / WIDTH
    assert g2 == pytest.approx(expected, rel=1e-6)
    gamma1 = c**2 / WIDTH * np.trace(k2q @ k2q) / (1 + g1) ** 2
    e1 = (1 + g1) ** 2 * (1 - gamma1)
    cross = np.trace(mq @ k2q)
    of_k2, of_m = quad(residual, k2), quad(residual, m)
    big = of_m + of_k2 / e1 * (t_a + c**2 / WIDTH * cross)
    gamma2 = (
        np.trace(mq @ mq)
        + c**2 / WIDTH * cross**2 / e1
        + 2 * t_a * cross / e1
        + t_a**2
        * (
            WIDTH * (g1 / (c * (1 + g1))) ** 2
            + np.trace(k2q @ k2q) / ((1 - gamma1) * (1 + g1) ** 4)
        )
    ) / (WIDTH * (1 + g2) ** 2)
    v = big / ((1 + g2) ** 2 * (1 - gamma2))
    np.testing.assert_allclose(start, v, rtol=1e-6)
    y = np.asarray(Y)
    inside = m[:N, :N] + t_a * k2[:N, :N] / (1 + g1)
    fluctuation = v[:, None, None] * (y.T @ q @ inside @ q @ y / WIDTH)[None]
    below = c**2 / WIDTH * of_k2[:, None, None] / e1 * (y.T @ q @ k2q @ y)[None]
    # which leaves out how the inner shares answer to the targets through the outer ones
    np.testing.assert_allclose(learned, fluctuation + below, rtol=0.02)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_answers_are_derivatives(layers):
    units, rest, parts = case(layers, constant=0.2)
    solution = solved(units, Y, WIDTH)
    _, residual, (start, learned) = predict(units, rest, parts, solution)

    def schur(s, source):
        """Of the kernel plus s times the start's covariance or a source."""
        of_start = source is None
        changed = source if source is not None else 0.2 * np.ones_like(rest)
        moved = dataclasses.replace(
            units,
            rest=units.rest + s * jnp.asarray(changed[:N, :N]),
            direct=units.direct.at[-1].add(s * of_start),
        )
        shares = solved(moved, Y, WIDTH).shares
        whole = rest + s * changed + np.einsum("l,lij->ij", shares, parts)
        rows = np.linalg.solve(whole[:N, :N], whole[:N, N:])
        return np.diagonal(whole)[N:] - (whole[:N, N:] * rows).sum(axis=0)

    step = 1e-3
    slope = (schur(step, None) - schur(-step, None)) / (2 * step)
    np.testing.assert_allclose(start, slope, rtol=1e-5)

    y = np.concatenate([np.asarray(Y)[:, :2], np.zeros((TESTS, 2))])
    source = np.outer(y[:, 0], y[:, 1])
    source = (source + source.T) / 2
    step = 1e-4
    slope = (schur(step, source) - schur(-step, source)) / (2 * step)
    means = residual @ y
    np.testing.assert_allclose(
        learned[:, 0, 1], slope - means[:, 0] * means[:, 1], rtol=1e-4, atol=1e-6
    )


def test_wide_is_infinite():
    units, *_ = case(3, spread=True)
    shares = solved(units, Y, 1e9).shares
    np.testing.assert_allclose(shares, finite_width.infinite(units), rtol=1e-7)
    # all of the kernel: direct couplings times whole covariances
    whole = np.einsum("l,lij->ij", np.asarray(shares), np.asarray(units.parts))
    assert whole.shape == (N, N)
    c = [0.4 + 0.7 * (0.6 + 0.5), 0.6 + 0.5, 1.0]
    np.testing.assert_allclose(shares, c, rtol=1e-7)


def test_units_that_differ_are_shared_less():
    # Jensen: the mean of z/(1 + g z) is below 1/(1 + g)
    plain, *_ = case(1)
    spread = dataclasses.replace(
        plain, samples=jnp.asarray(RNG.standard_normal((1, N, 400)) ** 3)
    )
    alike, unlike = (solved(each, Y, WIDTH).shares[0] for each in (plain, spread))
    assert unlike < 0.99 * alike


def test_more_points_than_units():
    units, *_ = case(2, spread=True)
    solution = solved(units, Y, 0.5)
    assert float(solution.residual) < 1e-6
    assert (np.asarray(solution.shares) > 0).all()
