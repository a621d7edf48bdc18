"""Ridge probes of bands of features, against the normal equations of each band."""

from typing import Any

import jax
import numpy as np
import pytest
from closeness import raises

from ntk_corrupt.spectral import band_probes, truncation
from ntk_corrupt.spectral.truncation import SpectralTruncation

C, D, N, M = 3, 9, 80, 150


def clusters(n, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    labels = rng.integers(C, size=n)
    centres = 1.5 * np.random.default_rng(7).normal(size=(C, D))
    scales = 0.8 ** np.arange(D)
    x = 2.0 + (centres[labels] + rng.normal(size=(n, D))) * scales
    return jax.device_put(x.astype(dtype)), jax.device_put(labels)


H, LABELS = clusters(N, 0)
X, TRUTH = clusters(M, 1)
FIT = SpectralTruncation.fit(H)
EPS = 64 * float(np.finfo(float).eps)  # of sums of eighty terms, in any order


def probe(basis, ridge, h=H, x=X):
    """Ridge regression in the span of `basis`, by its normal equations.

    Returns:
        The outputs, and how much they are rounded.
    """
    mean = np.asarray(h).mean(axis=0)
    z, points = ((np.asarray(of) - mean) @ basis for of in (h, x))
    y = np.eye(C)[np.asarray(LABELS)]
    variance = ((np.asarray(h) - mean) ** 2).mean()
    normal = z.T @ z + ridge * N * variance * np.eye(basis.shape[1])
    weights = np.linalg.solve(normal, z.T @ (y - y.mean(axis=0)))
    outputs = points @ weights + y.mean(axis=0)
    return outputs, EPS * np.linalg.cond(normal) * np.abs(outputs).max()


def assert_decided(found, outputs, rounding):
    """Classes are those of the largest outputs, or of as large ones up to rounding."""
    chosen = outputs[np.arange(len(outputs)), np.asarray(found)]
    assert (chosen >= outputs.max(axis=1) - rounding).all()


def assert_share(found, outputs, rounding):
    """The share of test points that are decided rightly, but for ties by rounding."""
    truth = np.arange(C) == np.asarray(TRUTH)[:, None]
    ahead = outputs[truth] - outputs.max(axis=1, where=~truth, initial=-np.inf)
    least, most = (ahead > rounding).mean(), (ahead >= -rounding).mean()
    assert least - EPS <= float(found) <= most + EPS


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_bands_of_principal_components(ridge):
    head = band_probes.ridge_head(FIT, H, LABELS, C, ridge=ridge)
    top, tail = (np.asarray(of(head, X)) for of in (FIT.decisions, FIT.tail_decisions))
    basis = np.asarray(FIT.components)
    for d in (1, 2, 5, D):
        assert_decided(top[d], *probe(basis[:, :d], ridge))
    for d in (1, 4, D - 1):
        assert_decided(tail[d], *probe(basis[:, d:], ridge))
    assert (top[D] == np.asarray(TRUTH)).mean() > 0.8


def test_the_penalty_is_relative_to_the_variance():
    fit = lambda h: band_probes.ridge_head(
        SpectralTruncation.fit(h), h, LABELS, C, ridge=0.3
    )
    h, x = np.asarray(H), np.asarray(X)
    one, ten = fit(H), fit(jax.device_put(10 * h))
    # components in which there is little are divided by their size
    centred = np.linalg.svd(h - h.mean(axis=0))[1]
    rounding = EPS * (np.linalg.norm(h, 2) / centred[-1]) ** 2
    w, b = (np.asarray(part) for part in (one.w, one.b))
    atol = rounding * np.abs(w).max()
    np.testing.assert_allclose(10 * np.asarray(ten.w), w, rtol=0, atol=atol)
    outputs = 10 * x @ np.asarray(ten.w).T + np.asarray(ten.b)
    atol = atol * np.abs(x).sum(axis=1).max()
    np.testing.assert_allclose(outputs, x @ w.T + b, rtol=0, atol=atol)


def test_without_penalty_and_rank_it_is_least_squares():
    h = np.asarray(H)
    twice = jax.device_put(np.concatenate([h, h], axis=1))  # rank 9 of 18
    fit = SpectralTruncation.fit(twice)
    found = band_probes.ridge_head(fit, twice, LABELS, C, ridge=0.0)
    assert np.isfinite(found.w).all()
    y = np.eye(C)[np.asarray(LABELS)]
    design = np.concatenate([h, np.ones((N, 1))], axis=1)
    expected = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    outputs = np.asarray(twice) @ np.asarray(found.w).T + np.asarray(found.b)
    atol = EPS * np.linalg.cond(design) ** 2
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=atol)


def test_random_subspaces():
    key, ridge = jax.random.key(3), 0.02
    arguments = (FIT, H, LABELS, X, TRUTH, C)
    found = band_probes.random_probe_accuracies(
        *arguments, draws=4, key=key, ridge=ridge
    )
    assert found.shape == (4, D + 1)
    found = np.asarray(found)
    draw: Any = jax.jit(jax.vmap(lambda key: truncation.orthogonal(FIT.mean, key)))
    for shares, basis in zip(
        found, np.asarray(draw(jax.random.split(key, 4))), strict=True
    ):
        for d in (1, 3, 6, D):
            assert_share(shares[d], *probe(basis[:, :d], ridge))
        # all directions: the basis does not matter
        assert_share(shares[D], *probe(np.eye(D), ridge))


def test_a_failed_factorisation_is_no_accuracy():
    twice, of_test = (
        jax.device_put(np.concatenate([np.asarray(a)] * 2, axis=1)) for a in (H, X)
    )
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
