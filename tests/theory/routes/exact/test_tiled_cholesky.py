"""The Cholesky factor in tiles against dense algebra."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

import theory
from theory.errors import NumericalError
from theory.routes.exact import tiles
from theory.routes.exact.tiled_cholesky import TiledCholesky

N = 53
X = jnp.asarray(np.random.default_rng(0).standard_normal((N, 30)))
RHS = np.random.default_rng(1).standard_normal((N, 4))
ARCH = theory.Architecture(depth=3, activation="relu")


@functools.cache
def kernel():
    return np.asarray(theory.ntk_gram(X, ARCH))


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("size", [8, 53, 64])
def test_solves_as_dense_algebra_does(size, ridge):
    factor = TiledCholesky(tiles.ntk(X, ARCH, size=size), ridge)
    shifted = kernel() + ridge * np.eye(N)
    condition = np.linalg.cond(shifted)
    expected = np.linalg.solve(shifted, RHS)
    found = factor.solve(jnp.asarray(RHS))
    # ten roundings for each of the terms of a sum, multiplied by the condition number
    tolerance = 10 * N * condition * np.finfo(float).eps
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )
    pivots = np.diagonal(np.linalg.cholesky(shifted)) ** 2 / np.diagonal(shifted)
    np.testing.assert_allclose(factor.margin, pivots.min(), rtol=10 * tolerance)


def test_progress_counts_products_of_tiles():
    seen = []
    report = lambda done, of: seen.append((done, of))
    TiledCholesky(tiles.ntk(X, ARCH, size=8), progress=report)
    done, of = zip(*seen, strict=True)
    assert len(seen) == 7
    assert set(of) == {done[-1]}
    assert list(done) == sorted(set(done))


def test_an_indefinite_kernel_is_reported():
    twice = jnp.concatenate([X, X[:2]])
    with raises("is indefinite, found in row 48 or soon after", NumericalError):
        TiledCholesky(tiles.ntk(twice, ARCH, size=8), -1e-3)


def test_tiles_in_a_file_are_refused(tmp_path):
    kernel = tiles.ntk(X, ARCH, size=8, file=tmp_path / "kernel")
    with raises("tiles in a file stay there"):
        TiledCholesky(kernel)
