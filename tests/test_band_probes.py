"""Ridge probes of bands of features, against the normal equations of each band."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import raises

from ntk_corrupt import band_probes, spectral
from ntk_corrupt.spectral import SpectralTruncation

C, D, N, M = 3, 9, 80, 150


def clusters(n, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    labels = rng.integers(C, size=n)
    centres = 1.5 * np.random.default_rng(7).normal(size=(C, D))
    scales = 0.8 ** np.arange(D)
    x = 2.0 + (centres[labels] + rng.normal(size=(n, D))) * scales
    return jnp.asarray(x, dtype), jnp.asarray(labels)


H, LABELS = clusters(N, 0)
X, TRUTH = clusters(M, 1)
FIT = SpectralTruncation.fit(H)


def probe(basis, ridge, h=H, x=X):
    """Decisions of ridge regression in the span of `basis`, by its normal equations."""
    mean = np.asarray(h).mean(axis=0)
    z, points = ((np.asarray(of) - mean) @ basis for of in (h, x))
    y = np.eye(C)[np.asarray(LABELS)]
    variance = ((np.asarray(h) - mean) ** 2).mean()
    normal = z.T @ z + ridge * N * variance * np.eye(basis.shape[1])
    weights = np.linalg.solve(normal, z.T @ (y - y.mean(axis=0)))
    return (points @ weights + y.mean(axis=0)).argmax(axis=1)


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_bands_of_principal_components(ridge):
    head = band_probes.ridge_head(FIT, H, LABELS, C, ridge=ridge)
    top, tail = FIT.decisions(head, X), FIT.tail_decisions(head, X)
    basis = np.asarray(FIT.components)
    for d in (1, 2, 5, D):
        np.testing.assert_array_equal(top[d], probe(basis[:, :d], ridge))
    for d in (1, 4, D - 1):
        np.testing.assert_array_equal(tail[d], probe(basis[:, d:], ridge))
    assert spectral.accuracy(top[D], TRUTH) > 0.8


def test_the_penalty_is_relative_to_the_variance():
    fit = lambda h: band_probes.ridge_head(
        SpectralTruncation.fit(h), h, LABELS, C, ridge=0.3
    )
    np.testing.assert_allclose(fit(10 * H).w, fit(H).w / 10, rtol=1e-9)
    np.testing.assert_allclose(fit(10 * H)(10 * X), fit(H)(X), rtol=1e-9)


def test_without_penalty_and_rank_it_is_least_squares():
    twice = jnp.concatenate([H, H], axis=1)  # rank 9 of 18
    fit = SpectralTruncation.fit(twice)
    found = band_probes.ridge_head(fit, twice, LABELS, C, ridge=0.0)
    assert np.isfinite(found.w).all()
    y = np.eye(C)[np.asarray(LABELS)]
    design = np.concatenate([np.asarray(H), np.ones((N, 1))], axis=1)
    expected = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(found(twice), expected, atol=1e-9)


def test_random_subspaces():
    key, ridge = jax.random.key(3), 0.02
    arguments = (FIT, H, LABELS, X, TRUTH, C)
    found = band_probes.random_probe_accuracies(
        *arguments, draws=4, key=key, ridge=ridge
    )
    assert found.shape == (4, D + 1)
    truth = np.asarray(TRUTH)
    for number, of in enumerate(jax.random.split(key, 4)):
        basis = np.asarray(spectral.orthogonal(FIT.mean, of))
        for d in (1, 3, 6, D):
            right = (probe(basis[:, :d], ridge) == truth).mean()
            assert float(found[number, d]) == pytest.approx(right)
    # all directions: the basis does not matter
    whole = (probe(np.eye(D), ridge) == truth).mean()
    np.testing.assert_allclose(found[:, D], whole)


def test_a_failed_factorisation_is_no_accuracy():
    twice, of_test = (jnp.concatenate([a, a], axis=1) for a in (H, X))
    fit = SpectralTruncation.fit(twice)
    found = band_probes.random_probe_accuracies(
        fit, twice, LABELS, of_test, TRUTH, C, draws=8, key=jax.random.key(0), ridge=0.0
    )
    failed = np.isnan(np.asarray(found)).all(axis=1)
    assert failed.any()
    assert (np.isfinite(np.asarray(found)).all(axis=1) | failed).all()


def test_bad_settings():
    with raises("`ridge` must not be negative, got -1"):
        band_probes.ridge_head(FIT, H, LABELS, C, ridge=-1.0)
    with raises("`draws` must be at least 1, got 0"):
        band_probes.random_probe_accuracies(
            FIT, H, LABELS, X, TRUTH, C, draws=0, key=jax.random.key(0)
        )
