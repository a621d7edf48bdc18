"""Kernels computed in small blocks, and products with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from activation_cases import BY_NAME
from closeness import assert_close
from kernel_cases import EPS, SPLIT, Z, shared
from problems import erf_kernels

from benchmarks import precision
from theory.kernels import matrices, tiling
from theory.kernels.architecture import Architecture


@pytest.fixture(scope="module")
def small_blocks():
    """Blocks of four rows and three columns, to the end of the file.

    Compiled functions remember theirs, hence for all tests that ask for it at once.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "block", lambda *sizes, own=False: (4, 3))
        jax.clear_caches()
        yield
    jax.clear_caches()


@pytest.mark.parametrize("n", [1, 3, 5, 11])
def test_any_number_of_points(small_blocks, n):
    draw = lambda seed, *shape: np.random.default_rng(seed).standard_normal(shape)
    arch = Architecture(depth=2, activation="erf", w_var=1.3, b_var=0.2)
    x, y = jnp.asarray(draw(n, n, 3)), jnp.asarray(draw(8, 6, 3))
    gram = matrices.gram(x, arch)
    assert np.array_equal(gram.ntk, gram.ntk.T)
    for ours, x2 in ((gram, x), (matrices.nngp_ntk(x, y, arch), y)):
        whole = erf_kernels(x, x2, 2, 1.3, 0.2)
        assert_close((ours.nngp, ours.ntk), whole)
        v = draw(9, len(x2), 2)
        product = matrices.ntk_product(x, x2, jnp.asarray(v), arch)
        assert_close(product, whole[1] @ v)
    v = draw(9, n, 2)
    # which kernel it is does not touch the blocks
    for kind in ("ntk", "nngp") if n == 11 else ("ntk",):
        expected = np.asarray(getattr(gram, kind)) @ v
        product = matrices.gram_product(x, jnp.asarray(v), arch, kind=kind)
        assert_close(product, expected)
        product = matrices.gram_product(
            x, jnp.asarray(v), arch, kind=kind, rows=np.array([n - 1, 0])
        )
        assert_close(product, expected[[n - 1, 0]])


def test_products_with_a_gram_are_exact_on_the_diagonal(small_blocks):
    # a kinked activation loses half of the digits there if taken as any other entry
    arch = shared(BY_NAME["relu"])
    v = jnp.eye(len(Z))
    for kind in ("ntk", "nngp"):
        product = np.diagonal(matrices.gram_product(Z, v, arch, kind=kind))
        exact = getattr(matrices.nngp_ntk_diag(Z, arch), kind)
        np.testing.assert_allclose(product, exact, rtol=64 * EPS)


def test_one_kernel_alone_is_that_of_the_pair(small_blocks):
    arch = shared(BY_NAME["erf"])
    assert_close(matrices.ntk_gram(Z, arch), matrices.gram(Z, arch).ntk)
    pair = matrices.nngp_ntk(Z[:SPLIT], Z[SPLIT:], arch)
    assert_close(matrices.ntk(Z[:SPLIT], Z[SPLIT:], arch), pair.ntk)
    assert_close(matrices.nngp(Z[:SPLIT], Z[SPLIT:], arch), pair.nngp)


def test_blocks_are_mirrored_bit_for_bit(small_blocks):
    # two copies of its variances are rounded differently
    gram = matrices.gram(Z, shared(BY_NAME["monomial3"]))
    for kernel in jax.tree.leaves(gram):
        assert np.array_equal(kernel, kernel.T)


def _with_near_twins(apart):
    x = np.random.default_rng(3).standard_normal((11, 5))
    x[9] = x[2] + apart * x[3]
    return jnp.asarray(x)


RELU = Architecture(depth=3, activation="relu", w_var=1.7, b_var=0.1)


def test_only_blocks_with_near_twins_are_in_doubt(small_blocks):
    x = _with_near_twins(1e-2)
    at = tiling.tile(x, x, RELU, ("ntk",), own=True)
    doubts = {
        (i, j)
        for i in (0, 4, 7)
        for j in (0, 3, 6, 8)
        if at.doubting(*map(jnp.asarray, (i, j)))[1]
    }
    assert doubts == {(0, 8), (7, 0)}


def test_blocks_in_doubt_keep_their_digits(small_blocks):
    x = _with_near_twins(1e-6)
    right = float(precision.entry("relu", np.asarray(x)[[2, 9]], RELU)[1])
    every = jnp.arange(11)
    for found in (
        matrices.gram(x, RELU).ntk,
        matrices.nngp_ntk(x, x, RELU).ntk,
        matrices.gram_product(x, jnp.eye(11), RELU),
        jax.vmap(lambda scale: matrices.ntk_gram(scale * x, RELU))(jnp.ones(2))[1],
        tiling.entries(x, every, x, RELU, kinds=("ntk",))["ntk"],
    ):
        assert float(found[2, 9]) == pytest.approx(right, rel=100 * EPS)


def test_blocks_in_doubt_have_derivatives_in_both_modes(small_blocks):
    x, v = _with_near_twins(1e-2), np.random.default_rng(4).standard_normal((11, 11))
    loss = lambda x: (matrices.gram(x, RELU).ntk * v).sum()
    back = jax.grad(loss)(x)
    for row in (2, 9, 5):
        step = jnp.zeros_like(x).at[row, 1].set(1e-5)
        change = (loss(x + step) - loss(x - step)) / 2e-5
        assert back[row, 1] == pytest.approx(float(change), rel=1e-6)
        forward = jax.jvp(loss, (x,), (step / 1e-5,))[1]
        assert forward == pytest.approx(float(back[row, 1]), rel=1e-9)
