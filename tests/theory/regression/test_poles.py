"""Poles of gradient flow against the exponential itself."""

import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

from theory.numerics import solve
from theory.regression.poles import flow_poles

S = np.concatenate([[0.0], np.logspace(-12, 12, 20_001)])
# What the docstring states: relative error, error of e^{-s}, largest residue.
STATED = {
    3: (6e-5, 2.1e-6, 3.3),
    4: (8.1e-7, 2.4e-8, 5.7),
    5: (1.2e-8, 2.8e-10, 10.5),
    6: (1.7e-10, 3.3e-12, 19.5),
    7: (2.3e-12, 3.8e-14, 37),
    8: (3e-14, 5e-16, 73),
}
EPS = np.finfo(float).eps


def summed(x, residues, poles):
    return (residues / (x[:, None] + poles)).sum(axis=1).real


def rounding(residues):
    """Of weights, in units of them at s = 0 and of 1/x far out, where most cancels.

    Terms add up to sum |r_k| there. A residue is a quotient of polynomials of degree
    2 pairs, two roundings for each power; a term is a sum and a complex division, eight
    more; and `pairs` of them are added.
    """
    pairs = len(residues)
    return (4 * pairs + 8 + pairs) * EPS * np.abs(residues).sum()


@pytest.mark.parametrize("pairs", STATED)
@pytest.mark.parametrize("time", [1e-3, 1.0, 40.0])
def test_weights_for_every_eigenvalue(pairs, time):
    residues, poles = flow_poles(time, pairs)
    assert residues.shape == poles.shape == (pairs,)
    safe = np.where(S > 0, S, 1.0)
    expected = time * np.where(S > 0, -np.expm1(-safe) / safe, 1.0)
    x = S / time
    weights = summed(x, residues, poles)
    relative, left, largest = STATED[pairs]
    rounded = rounding(residues)
    np.testing.assert_allclose(weights, expected, rtol=relative + rounded)
    np.testing.assert_allclose(1 - x * weights, np.exp(-S), rtol=0, atol=left + rounded)
    assert np.abs(residues).max() < largest


def test_each_pair_gains_the_constant_of_halphen():
    # Gonchar and Rakhmanov: the best error falls by 9.28903 per pole
    def error(pairs):
        weights = summed(S, *flow_poles(1.0, pairs))
        return np.abs(1 - S * weights - np.exp(-S)).max()

    for pairs in (2, 3, 4, 5):
        few, more = error(pairs), error(pairs + 1)
        # a hundredth is the next order in 1/pairs
        allowed = 0.01 + rounding(flow_poles(1.0, pairs + 1)[0]) / more
        np.testing.assert_allclose(few / more, 9.28903**2, rtol=allowed)


def test_where_the_poles_are():
    for pairs in range(1, 9):
        residues, poles = flow_poles(2.0, pairs)
        assert (poles.imag > 1.18 / 2).all()
        assert (np.diff(poles.imag) > 0).all()
        once, half = flow_poles(1.0, pairs)
        np.testing.assert_array_equal(residues, once)
        np.testing.assert_array_equal(poles, half / 2)
    poles = flow_poles(1.0)[1]
    assert len(poles) == 6
    assert poles.real.min() == pytest.approx(-7, abs=0.01)
    assert poles.real.max() == pytest.approx(4.83, abs=0.01)


@pytest.mark.parametrize("rank", [8, 20])
def test_complex_ridges_are_gradient_flow(rank):
    # singular kernels too: eigenvalues over six decades, and zeros
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    values = np.where(np.arange(20) < rank, np.logspace(-3, 3, 20), 0.0)
    kernel, y = (vectors * values) @ vectors.T, rng.normal(size=(20, 3))
    for time in (1e-2, 1.0, 1e2):
        residues, poles = flow_poles(time, 7)
        got = sum(
            residue * np.linalg.solve(kernel + pole * np.eye(20), y)
            for residue, pole in zip(residues, poles, strict=True)
        )
        flow = solve.gradient_flow(jnp.asarray(kernel), jnp.asarray(time))
        expected = np.asarray(flow.apply(jnp.asarray(y)))
        # weights to those of 7 pairs, of columns of norm sqrt(20); and eigenvalues off
        # by 20 roundings of the largest, 1e3, to which weights answer by `time` of it
        allowed = 20**0.5 * (STATED[7][0] + rounding(residues)) + 20 * EPS * 1e3 * time
        np.testing.assert_allclose(
            np.real(got), expected, rtol=0, atol=allowed * np.abs(expected).max()
        )


@pytest.mark.parametrize("time", [0.0, -1.0, np.inf, np.nan])
def test_times_that_make_no_sense(time):
    with raises(f"`time` must be positive and finite, got {time}"):
        flow_poles(time)


@pytest.mark.parametrize("pairs", [0, 9, True])
def test_pairs_that_make_no_sense(pairs):
    with raises(f"`pairs` must be an integer in 1 ... 8, got {pairs}"):
        flow_poles(1.0, pairs)
