"""Truncated heads: projectors, folding, all dimensions at once, choices of one."""

from typing import Any

import jax
import numpy as np
import pytest
from closeness import raises

import theory
from ntk_corrupt.networks import mlp
from ntk_corrupt.spectral import heads, kept_dimensions, truncation
from ntk_corrupt.spectral.heads import Head
from ntk_corrupt.spectral.truncation import SpectralTruncation, Truncation

# Roundings of a logit: sums over the features, of sums over the components.
ROUNDING = 64
LABELS = jax.device_put(np.random.default_rng(3).integers(4, size=200))

transform = jax.jit(Truncation.transform)
cut = jax.jit(Truncation.features)
fold = jax.jit(Truncation.fold)
fold_and_apply = jax.jit(lambda found, own, x, d: found.fold(own, d)(x))
random = jax.jit(SpectralTruncation.random)


def features(n=60, d=12, *, rank=None, dtype=np.float64, seed=0):
    """Non-negative ones with a large mean, as of rectifiers."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(n, rank or d)) * 0.7 ** np.arange(rank or d)
    mixing = rng.normal(size=(rank or d, d))
    return jax.device_put((3.0 + parts @ mixing).astype(dtype))


def head(c=4, d=12, dtype=np.float64):
    rng = np.random.default_rng(1)
    return Head(
        w=jax.device_put(rng.normal(size=(c, d)).astype(dtype)),
        b=jax.device_put(rng.normal(size=c).astype(dtype)),
    )


H, X = head(), features(200, seed=2)


def logits(own, x):
    w, b, x = (np.asarray(part, float) for part in (own.w, own.b, x))
    return x @ w.T + b


def rounding(own, x):
    """How much logits are rounded, whichever way they are summed."""
    w, b, size = (np.abs(np.asarray(part, float)) for part in (own.w, own.b, x))
    return ROUNDING * np.finfo(own.w.dtype).eps * (size @ w.T + b).max()


def first(found, x, d):
    """Features cut to d dimensions, in NumPy."""
    mean, basis, x = (
        np.asarray(part, float) for part in (found.mean, found.components, x)
    )
    return mean + (x - mean) @ basis[:, :d] @ basis[:, :d].T


def assert_decided(found, expected, atol):
    """Classes are those of the largest logits, or of others as large up to rounding."""
    chosen = np.take_along_axis(expected, np.asarray(found)[:, None], axis=1)[:, 0]
    assert (chosen >= expected.max(axis=1) - atol).all()


def test_components_are_those_of_the_covariance():
    h = features()
    found = SpectralTruncation.fit(h)
    values, vectors = np.linalg.eigh(np.cov(np.asarray(h), rowvar=False))
    own = np.asarray(found.singular_values) ** 2 / 59
    # both are off by roundings of the largest
    atol = ROUNDING * np.finfo(float).eps * values[-1]
    np.testing.assert_allclose(own, values[::-1], rtol=0, atol=atol)
    for d in (1, 5, 12):  # projectors: signs do not matter
        expected = vectors[:, ::-1][:, :d]
        own = np.asarray(found.components)[:, :d]
        # by the gap to the next variance, that directions turn by
        gap = values[::-1][d - 1] - values[::-1][d] if d < 12 else values[-1]
        np.testing.assert_allclose(
            own @ own.T, expected @ expected.T, rtol=0, atol=atol / gap
        )
    assert int(found.rank) == 12
    z = np.asarray(transform(found, h))
    variances = np.diag(np.asarray(found.singular_values) ** 2)
    np.testing.assert_allclose(z.T @ z, variances, rtol=0, atol=59 * atol)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_folded_head_is_the_head_on_truncated_features(dtype):
    own, h = head(dtype=dtype), features(dtype=dtype)
    x = features(200, seed=2, dtype=dtype)
    found = SpectralTruncation.fit(h)
    folded = lambda d: fold_and_apply(found, own, x, d)
    atol = rounding(own, x)
    for d in (0, 1, 4, 12):
        at_once = folded(d)
        assert at_once.dtype == dtype
        expected = logits(own, cut(found, x, d))
        np.testing.assert_allclose(at_once, expected, atol=atol, rtol=0)
    eps = ROUNDING * np.finfo(dtype).eps * np.abs(x).max()
    np.testing.assert_allclose(cut(found, x, 12), x, atol=eps, rtol=0)
    # of the mean, and not of zero
    only = np.broadcast_to(logits(own, found.mean), (200, 4))
    np.testing.assert_allclose(folded(0), only, atol=atol, rtol=0)


def test_all_dimensions_at_once_are_each_by_itself():
    found = SpectralTruncation.fit(features())
    top, tail = (np.asarray(of(H, X)) for of in (found.decisions, found.tail_decisions))
    assert top.shape == tail.shape == (13, 200)
    mean, atol = np.asarray(found.mean), rounding(H, X)
    size = ROUNDING * np.finfo(float).eps * np.abs(X).max()
    for d in range(13):
        np.testing.assert_allclose(
            cut(found, X, d), first(found, X, d), atol=size, rtol=0
        )
        assert_decided(top[d], logits(H, first(found, X, d)), atol)
        assert_decided(
            tail[d], logits(H, np.asarray(X) - first(found, X, d) + mean), atol
        )
        share = np.mean(top[d] == np.asarray(LABELS))
        assert kept_dimensions.accuracy(top, LABELS)[d] == share
    assert_decided(top[-1], logits(H, X), atol)
    assert_decided(tail[0], logits(H, X), atol)
    among = np.arange(200) < 50
    np.testing.assert_array_equal(
        kept_dimensions.accuracy(top, LABELS, among),
        kept_dimensions.accuracy(top[:, :50], LABELS[:50]),
    )
    assert np.isnan(kept_dimensions.accuracy(top, LABELS, among & ~among)).all()


@pytest.mark.parametrize(("n", "rank"), [(8, 7), (60, 5), (1, 0)])
def test_dimensions_beyond_the_rank_change_nothing(n, rank):
    h = features(n, rank=5) if n == 60 else features(n)
    found = SpectralTruncation.fit(h)
    assert int(found.rank) == rank
    assert not np.asarray(found.components)[:, rank:].any()
    top, tail = (np.asarray(of(H, X)) for of in (found.decisions, found.tail_decisions))
    assert (top[rank:] == top[rank]).all()
    # but the part outside the span is in the tail
    rest = logits(H, np.asarray(X) - first(found, X, rank) + np.asarray(found.mean))
    assert_decided(tail[rank], rest, rounding(H, X))
    if rank:
        assert (top[-1] != logits(H, X).argmax(axis=1)).any()


def test_effective_rank():
    for k, copies in ((1, 30), (6, 5)):
        h = np.zeros((2 * k * copies, 12))  # k directions of equal variance
        for j in range(k):
            rows = slice(2 * j * copies, 2 * (j + 1) * copies)
            h[rows, j] = np.tile([1.0, -1.0], copies)
        found = SpectralTruncation.fit(jax.device_put(h + 2.0))
        assert float(found.effective_rank) == pytest.approx(k)
    found = SpectralTruncation.fit(X)
    shares = np.asarray(found.shares)
    assert shares.sum() == pytest.approx(1)
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert float(found.effective_rank) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_features_have_no_component(dtype):
    found = SpectralTruncation.fit(jax.device_put(np.full((60, 12), 0.1, dtype)))
    assert int(found.rank) == 0
    assert float(found.effective_rank) == 0
    assert not np.asarray(found.shares).any()
    chosen = kept_dimensions.dimensions(found, np.zeros(13), 3)
    assert chosen == {"validation": 1, "classes": 1, "effective_rank": 1}


def test_choice_of_a_dimension():
    curve = np.array([0.9, 0.1, 0.7, 0.8, 0.8, 0.5])
    assert (
        kept_dimensions.best_dimension(curve) == 3
    )  # d = 0 is no choice; ties: the first
    found = SpectralTruncation.fit(features(60, rank=5))
    chosen = kept_dimensions.dimensions(
        found, np.array([0.0] * 7 + [1.0] + [0.0] * 5), 4
    )
    assert chosen["validation"] == 5  # its rank
    assert chosen["classes"] == 4
    effective = float(found.effective_rank)
    assert abs(effective % 1 - 0.5) > 0.01  # rounds to one number everywhere
    assert chosen["effective_rank"] == round(effective)


def test_truncated_singular_values_of_a_head():
    found = jax.jit(truncation.of_head)(H)
    u, s, vt = np.linalg.svd(np.asarray(H.w), full_matrices=False)
    top = np.asarray(found.decisions(H, X))
    assert top.shape == (5, 200)
    gaps = np.append(s[:-1] - s[1:], s[-1])
    for k in range(5):
        w = (u[:, :k] * s[:k]) @ vt[:k]
        # directions turn by rounding over the gap to the next singular value
        turned = s[0] / gaps[:k].min(initial=s[0])
        atol = ROUNDING * np.finfo(float).eps * s[0] * turned
        np.testing.assert_allclose(fold(found, H, k).w, w, atol=atol, rtol=0)
        expected = np.asarray(X) @ w.T + np.asarray(H.b)
        assert_decided(top[k], expected, turned * rounding(H, X))


def test_random_bases_are_orthonormal_and_uniform():
    found = SpectralTruncation.fit(X)
    draw = random(found, jax.random.split(jax.random.key(5), 3)[2])
    basis = np.asarray(draw.components)
    eps = ROUNDING * np.finfo(float).eps
    np.testing.assert_allclose(basis.T @ basis, np.eye(12), atol=eps)
    np.testing.assert_array_equal(draw.mean, found.mean)
    curves = np.asarray(
        found.random_accuracies(H, X, LABELS, draws=3, key=jax.random.key(5))
    )
    for d, share in enumerate(curves[2]):
        expected = logits(H, first(draw, X, d))
        second, largest = np.sort(expected, axis=1)[:, -2:].T
        close = (largest - second < rounding(H, X)).mean()
        right = (expected.argmax(axis=1) == np.asarray(LABELS)).mean()
        assert share == pytest.approx(right, abs=close + eps)
    assert (curves[0] != curves[2]).any()
    keys = jax.random.split(jax.random.key(1), 2000)
    of = jax.jit(jax.vmap(lambda key: truncation.orthogonal(found.mean[:3], key)))
    many = np.asarray(of(keys))
    # entries of a uniform rotation: mean 0, mean square 1/3, mean fourth power 1/5, no
    # preferred sign
    assert np.abs(many.mean(axis=0)).max() < 5 * (1 / 3 / 2000) ** 0.5
    error = ((1 / 5 - 1 / 9) / 2000) ** 0.5
    np.testing.assert_allclose((many**2).mean(axis=0), 1 / 3, atol=5 * error)


@pytest.mark.parametrize(
    ("parametrisation", "b_var"), [("standard", 0.0), ("ntk", 0.5)]
)
def test_features_and_head_of_a_network(parametrisation, b_var):
    arch = theory.Architecture(depth=3, activation="relu", w_var=2.0, b_var=b_var)
    model = mlp.mlp(arch, 7, 3, parametrisation=parametrisation)
    apply: Any = jax.jit(model.apply)
    x = np.random.default_rng(4).uniform(size=(20, 5)).astype(np.float32)
    x = jax.device_put(x)
    params = jax.jit(model.init)(jax.random.key(0), x)
    params = jax.tree.map(lambda p: np.asarray(p) + np.float32(0.1), params)  # biases
    h, own = heads.split(model, params, x)
    assert h.shape == (20, 7)
    assert (np.asarray(h) >= 0).all()
    atol = rounding(own, h)
    np.testing.assert_allclose(apply(params, x), logits(own, h), atol=atol, rtol=0)
    found = SpectralTruncation.fit(h)
    folded = heads.with_head(model, params, fold(found, own, 2))
    expected = logits(own, first(found, h, 2))
    np.testing.assert_allclose(apply(folded, x), expected, atol=atol, rtol=0)
    assert jax.tree.structure(folded) == jax.tree.structure(params)


def test_bad_input():
    with raises("`features` must not be empty, got shape (0, 3)"):
        SpectralTruncation.fit(jax.device_put(np.zeros((0, 3))))
    with raises("`features` must be finite"):
        SpectralTruncation.fit(jax.device_put(np.array([[1.0, np.nan], [0.0, 1.0]])))
    arch = theory.Architecture(depth=2, activation="relu", b_var=0.0)
    model = mlp.mlp(arch, 3, 2, biases=False)
    x = jax.device_put(np.zeros((1, 4), np.float32))
    params = jax.jit(model.init)(jax.random.key(0), x)
    _, own = heads.split(model, params, x)
    assert not np.asarray(own.b).any()
    with raises("`model` must have biases"):
        heads.with_head(model, params, own)
