"""Truncated heads: projectors, folding, all dimensions at once, choices of one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import raises

import theory
from ntk_corrupt import models, spectral
from ntk_corrupt.spectral import Head, SpectralTruncation

RNG = np.random.default_rng(0)


def features(n=60, d=12, *, rank=None, dtype=np.float64, seed=0):
    """Non-negative ones with a large mean, as of rectifiers."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(n, rank or d)) * 0.7 ** np.arange(rank or d)
    mixing = rng.normal(size=(rank or d, d))
    return jnp.asarray(3.0 + parts @ mixing, dtype)


def head(c=4, d=12, dtype=np.float64):
    rng = np.random.default_rng(1)
    return Head(
        w=jnp.asarray(rng.normal(size=(c, d)), dtype),
        b=jnp.asarray(rng.normal(size=c), dtype),
    )


H, X = head(), features(200, seed=2)


def test_components_are_those_of_the_covariance():
    h = features()
    found = SpectralTruncation.fit(h)
    values, vectors = np.linalg.eigh(np.cov(np.asarray(h), rowvar=False))
    np.testing.assert_allclose(found.singular_values**2 / 59, values[::-1], rtol=1e-10)
    for d in (1, 5, 12):  # projectors: signs do not matter
        expected = vectors[:, ::-1][:, :d]
        own = found.components[:, :d]
        np.testing.assert_allclose(own @ own.T, expected @ expected.T, atol=1e-10)
    assert int(found.rank) == 12
    z = np.asarray(found.transform(h))
    variances = np.diag(np.asarray(found.singular_values) ** 2)
    np.testing.assert_allclose(z.T @ z, variances, atol=1e-9)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_a_folded_head_is_the_head_on_truncated_features(dtype, atol):
    own, h, x = head(dtype=dtype), features(dtype=dtype), X.astype(dtype)
    found = SpectralTruncation.fit(h)
    scale = float(jnp.abs(own(x)).max())
    for d in (0, 1, 4, 12):
        folded = found.fold(own, d)(x)
        assert folded.dtype == dtype
        np.testing.assert_allclose(
            folded, own(found.features(x, d)), atol=atol * scale, rtol=0
        )
    np.testing.assert_allclose(found.features(x, 12), x, atol=atol * scale)
    # of the mean, and not of zero
    only = np.broadcast_to(own(found.mean[None]), (200, 4))
    np.testing.assert_allclose(found.fold(own, 0)(x), only, atol=atol * scale, rtol=0)


def test_all_dimensions_at_once_are_each_by_itself():
    found = SpectralTruncation.fit(features())
    labels = jnp.asarray(RNG.integers(4, size=200))
    top, tail = found.decisions(H, X), found.tail_decisions(H, X)
    assert top.shape == tail.shape == (13, 200)
    for d in range(13):
        alone = H(found.features(X, d))
        np.testing.assert_array_equal(top[d], alone.argmax(axis=1))
        rest = H(X - found.features(X, d) + found.mean[None])
        np.testing.assert_array_equal(tail[d], rest.argmax(axis=1))
        share = np.mean(np.asarray(alone).argmax(axis=1) == np.asarray(labels))
        assert spectral.accuracy(top, labels)[d] == share
    np.testing.assert_array_equal(top[-1], H(X).argmax(axis=1))
    np.testing.assert_array_equal(tail[0], top[-1])
    among = np.arange(200) < 50
    np.testing.assert_allclose(
        spectral.accuracy(top, labels, among),
        spectral.accuracy(top[:, :50], labels[:50]),
    )
    assert np.isnan(spectral.accuracy(top, labels, among & ~among)).all()


@pytest.mark.parametrize(("n", "rank"), [(8, 7), (60, 5), (1, 0)])
def test_dimensions_beyond_the_rank_change_nothing(n, rank):
    h = features(n, rank=5) if n == 60 else features(n)
    found = SpectralTruncation.fit(h)
    assert int(found.rank) == rank
    assert not np.asarray(found.components)[:, rank:].any()
    top = np.asarray(found.decisions(H, X))
    assert (top[rank:] == top[rank]).all()
    # but the part outside the span is in the tail
    rest = H(X - found.features(X, rank) + found.mean[None]).argmax(axis=1)
    np.testing.assert_array_equal(found.tail_decisions(H, X)[rank], rest)
    if rank:
        assert (top[-1] != H(X).argmax(axis=1)).any()


def test_effective_rank():
    for k, copies in ((1, 30), (6, 30)):
        h = np.zeros((2 * k * copies, 8))  # k directions of equal variance
        for j in range(k):
            rows = slice(2 * j * copies, 2 * (j + 1) * copies)
            h[rows, j] = np.tile([1.0, -1.0], copies)
        found = SpectralTruncation.fit(jnp.asarray(h + 2.0))
        assert float(found.effective_rank) == pytest.approx(k)
    shares = np.asarray(SpectralTruncation.fit(X).shares)
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert float(SpectralTruncation.fit(X).effective_rank) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_features_have_no_component(dtype):
    found = SpectralTruncation.fit(jnp.full((30, 5), 0.1, dtype))
    assert int(found.rank) == 0
    assert float(found.effective_rank) == 0
    assert not np.asarray(found.shares).any()
    chosen = spectral.dimensions(found, np.zeros(6), 3)
    assert chosen == {"validation": 1, "classes": 1, "effective_rank": 1}


def test_choice_of_a_dimension():
    curve = np.array([0.9, 0.1, 0.7, 0.8, 0.8, 0.5])
    assert spectral.best_dimension(curve) == 3  # d = 0 is no choice; ties: the first
    found = SpectralTruncation.fit(features(60, rank=5))
    chosen = spectral.dimensions(found, np.array([0.0] * 7 + [1.0] + [0.0] * 5), 4)
    assert chosen["validation"] == 5  # its rank
    assert chosen["classes"] == 4
    assert chosen["effective_rank"] == round(float(found.effective_rank))


def test_truncated_singular_values_of_a_head():
    found = spectral.of_head(H)
    u, s, vt = np.linalg.svd(np.asarray(H.w), full_matrices=False)
    top = found.decisions(H, X)
    assert top.shape == (5, 200)
    for k in range(5):
        w = (u[:, :k] * s[:k]) @ vt[:k]
        np.testing.assert_allclose(found.fold(H, k).w, w, atol=1e-12)
        expected = (np.asarray(X) @ w.T + np.asarray(H.b)).argmax(axis=1)
        np.testing.assert_array_equal(top[k], expected)


def test_random_bases_are_orthonormal_and_uniform():
    found = SpectralTruncation.fit(X)
    other = found.random(jax.random.key(0))
    basis = np.asarray(other.components)
    np.testing.assert_allclose(basis.T @ basis, np.eye(12), atol=1e-12)
    np.testing.assert_array_equal(other.mean, found.mean)
    labels = jnp.asarray(RNG.integers(4, size=200))
    curves = found.random_accuracies(H, X, labels, draws=3, key=jax.random.key(5))
    last = found.random(jax.random.split(jax.random.key(5), 3)[2])
    expected = spectral.accuracy(last.decisions(H, X), labels)
    np.testing.assert_allclose(curves[2], expected)
    assert (np.asarray(curves[0]) != np.asarray(curves[2])).any()
    keys = jax.random.split(jax.random.key(1), 2000)
    many = jax.vmap(lambda key: spectral.orthogonal(found.mean[:3], key))(keys)
    # entries of a uniform rotation: mean 0, mean square 1/3, no preferred sign
    assert np.abs(np.asarray(many.mean(axis=0))).max() < 5 * (1 / 3 / 2000) ** 0.5
    np.testing.assert_allclose((many**2).mean(axis=0), 1 / 3, atol=0.04)


@pytest.mark.parametrize(
    ("parametrisation", "b_var"), [("standard", 0.0), ("ntk", 0.5)]
)
def test_features_and_head_of_a_network(parametrisation, b_var):
    arch = theory.Architecture(depth=3, activation="relu", w_var=2.0, b_var=b_var)
    model = models.mlp(arch, 7, 3, parametrisation=parametrisation)
    x = jnp.asarray(RNG.uniform(size=(20, 5)), jnp.float32)
    params = model.init(jax.random.key(0), x)
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases too
    h, own = spectral.split(model, params, x)
    assert h.shape == (20, 7)
    assert (np.asarray(h) >= 0).all()
    outputs = np.asarray(model.apply(params, x))
    np.testing.assert_allclose(own(h), outputs, atol=1e-5)
    found = SpectralTruncation.fit(h)
    folded = spectral.with_head(model, params, found.fold(own, 2))
    outputs = np.asarray(model.apply(folded, x))
    np.testing.assert_allclose(outputs, own(found.features(h, 2)), atol=1e-5)
    assert jax.tree.structure(folded) == jax.tree.structure(params)


def test_bad_input():
    with raises("`features` must have shape (n, D)"):
        SpectralTruncation.fit(jnp.zeros((0, 3)))
    with raises("`features` must be finite"):
        SpectralTruncation.fit(jnp.asarray([[1.0, np.nan], [0.0, 1.0]]))
    arch = theory.Architecture(depth=2, activation="relu", b_var=0.0)
    model = models.mlp(arch, 3, 2, biases=False)
    params = model.init(jax.random.key(0), jnp.zeros((1, 4)))
    _, own = spectral.split(model, params, jnp.zeros((1, 4)))
    assert not np.asarray(own.b).any()
    with raises("`model` must have biases"):
        spectral.with_head(model, params, own)
