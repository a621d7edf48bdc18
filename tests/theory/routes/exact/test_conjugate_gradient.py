"""Conjugate gradients in blocks against dense solves; blocks that break down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

from theory.errors import NumericalError
from theory.routes.exact import conjugate_gradient
from theory.routes.exact.preconditioners import features_and_noise


def columns(n, m=3, seed=1):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((n, m)))


def noise_alone(n, variance=1.0, dtype=jnp.float64):
    noise = jnp.full(n, variance, dtype)
    return features_and_noise(jnp.zeros((n, 1), dtype), noise)


def matrix_of(n=30, seed=5):
    """Eigenvalues from one on."""
    root = np.random.default_rng(seed).standard_normal((n, n))
    return root @ root.T + np.eye(n)


def product_with(matrix):
    return jax.jit(lambda v: jnp.asarray(matrix, v.dtype) @ v)


@pytest.mark.parametrize("variance", [1.0, 7.0])
def test_conjugate_gradients_solve(variance):
    matrix, seen = matrix_of(), []
    given = np.array(columns(30, 4))
    given[:, 2] = 0
    found = conjugate_gradient.solve(
        product_with(matrix),
        jnp.asarray(given),
        noise_alone(30, variance),
        tolerance=1e-11,
        progress=lambda *at: seen.append(at),
    )
    # eigenvalues from one on: the error is at most the residual, 1e-11 |rhs|, |rhs| < 8
    expected = np.linalg.solve(matrix, given)
    np.testing.assert_allclose(found.weights, expected, rtol=0, atol=1e-9)
    assert [count for count, _ in seen] == list(range(1, found.iterations + 1))
    assert np.asarray(found.residual).max() <= 1e-11 < seen[-2][1]
    assert (np.asarray(found.weights)[:, 2] == 0).all()


def test_targets_that_are_not_numbers_are_not_solved():
    given = np.array(columns(30, 2))
    given[3, 1] = np.nan
    with raises("curvature nan", NumericalError):
        conjugate_gradient.solve(
            product_with(matrix_of()),
            jnp.asarray(given),
            noise_alone(30),
            tolerance=1e-6,
        )


def test_a_block_finds_in_one_space_what_columns_find_alone():
    matrix, rhs = matrix_of(60), columns(60, 12)
    solve = lambda v: conjugate_gradient.solve(
        product_with(matrix), v, noise_alone(60), tolerance=1e-8
    )
    alone = [solve(rhs[:, k : k + 1]) for k in range(12)]
    together = solve(rhs)
    # 60 rows are used up by 5 blocks of 12, and rounding
    assert together.iterations <= 7 < min(found.iterations for found in alone)
    apart = np.concatenate([found.weights for found in alone], axis=1)
    np.testing.assert_allclose(together.weights, apart, rtol=0, atol=2e-7)


def broken_blocks():
    """Right-hand sides that have fewer directions than columns."""
    v = np.asarray(columns(30, 6))
    nearly = v[:, :1] + 1e-9 * v[:, 1:2]
    matrix = matrix_of()
    eigen = np.linalg.eigh(matrix)[1][:, :2]
    return {
        "twins": np.concatenate([v[:, :3], v[:, :3]], axis=1),
        "all the same": np.tile(v[:, :1], (1, 5)),
        "opposite and scaled": np.concatenate([v, -1e4 * v], axis=1),
        "sums": np.concatenate([v, v @ np.ones((6, 2)) + v[:, :2]], axis=1),
        "nearly twins": np.concatenate([v[:, :1], nearly], axis=1),
        "zeros": np.concatenate([np.zeros((30, 2)), v[:, :2]], axis=1),
        "done at once": np.concatenate([eigen, v], axis=1),
        "more than rows": np.asarray(columns(30, 40)),
        "tiny": np.concatenate([v * 1e-20, v[:, ::-1]], axis=1),
    }


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", broken_blocks())
def test_blocks_that_break_down(name, dtype):
    matrix, given = matrix_of(), broken_blocks()[name]
    tolerance = 1e-10 if dtype == "float64" else 1e-5
    found = conjugate_gradient.solve(
        product_with(matrix),
        jnp.asarray(given, dtype),
        noise_alone(30, dtype=jnp.dtype(dtype)),
        tolerance=tolerance,
        max_iterations=120,
    )
    weights = np.asarray(found.weights, float)
    size = np.linalg.norm(given, axis=0)
    left = np.linalg.norm(given - matrix @ weights, axis=0)
    # the recursion's, and rounding: 30 products of the largest eigenvalue, 120
    floor = 30 * float(jnp.finfo(dtype).eps) * 120
    assert (left <= (tolerance + floor) * size).all()
    assert np.asarray(found.residual).max() <= tolerance
    assert (weights[:, size == 0] == 0).all()


def test_columns_that_are_done_give_no_directions():
    # what is left of them is rounding, and conjugate to nothing: 64 products with it
    found = conjugate_gradient.solve(
        product_with(matrix_of()),
        jnp.asarray(broken_blocks()["done at once"]),
        noise_alone(30),
        tolerance=1e-10,
    )
    # 30 rows in blocks of six, and two for rounding
    assert found.iterations <= 7


def test_tolerances_of_columns():
    matrix, rhs = matrix_of(200), columns(200, 6)
    tolerance, counts = np.array([1e-10, 1e-10, 1e-2, 1e-2, 1e-2, 1e-2]), []
    times = product_with(matrix)

    def apply(v):
        counts.append(v.shape[1])
        return times(v)

    found = conjugate_gradient.solve(apply, rhs, noise_alone(200), tolerance=tolerance)
    residual = np.asarray(found.residual)
    assert (residual <= tolerance).all()
    assert residual[2:].max() > 1e-6
    # columns that are done leave the block
    assert counts[0] == 6
    assert counts[-1] <= 2
    expected = np.linalg.solve(matrix, rhs)
    norm = np.linalg.norm(rhs, axis=0)
    off = np.linalg.norm(found.weights - expected, axis=0)
    assert (off <= tolerance * norm).all()


def test_a_perfect_preconditioner_needs_one_product():
    features, noise = columns(12), jnp.linspace(0.3, 1.0, 12)
    dense = features @ features.T + jnp.diag(noise)
    apply = jax.jit(lambda v: dense @ v)
    precondition = features_and_noise(features, noise)
    found = conjugate_gradient.solve(apply, columns(12), precondition, tolerance=1e-10)
    assert found.iterations == 1


@pytest.mark.parametrize("m", [1, 3, 12])
def test_the_smallest_eigenvalue(m):
    # half of the rows have features, so that the preconditioner has eigenvalues
    matrix, features = matrix_of(60), columns(60, 2, seed=3)
    precondition = features_and_noise(features, jnp.full(60, 0.5))
    found = conjugate_gradient.solve(
        product_with(matrix), columns(60, m), precondition, tolerance=1e-12
    )
    dense = np.asarray(features @ features.T) + 0.5 * np.eye(60)
    values = np.linalg.eigvals(np.linalg.solve(dense, matrix)).real
    # a Ritz value, found to one part in a hundred; directions that come after a column
    # has left the block are conjugate to the block before alone
    error = 0.25 if m == 3 else 0.03
    np.testing.assert_allclose(found.least, 0.5 * values.min(), rtol=error)
    assert found.least < 1.02 * np.linalg.eigvalsh(matrix)[0]


def test_nothing_to_solve():
    found = conjugate_gradient.solve(
        lambda v: v, jnp.zeros((5, 2)), noise_alone(5), tolerance=1e-3
    )
    assert found.iterations == 0
    assert (found.weights == 0).all()


def test_right_hand_sides_are_left_as_they_were():
    rhs = columns(30)
    before = np.array(rhs)
    conjugate_gradient.solve(
        product_with(matrix_of()), rhs, noise_alone(30), tolerance=1e-6
    )
    np.testing.assert_array_equal(rhs, before)


def test_what_cannot_be_solved_is_named():
    signs = jnp.asarray([[1.0], [1.0], [1.0], [-1.0]])
    rhs = jnp.asarray(np.ones((4, 1)))
    solve = conjugate_gradient.solve
    with raises("the kernel is indefinite", NumericalError):
        solve(lambda v: signs * v, rhs, noise_alone(4), tolerance=1e-9)
    with raises("the kernel is indefinite", NumericalError):
        solve(lambda v: jnp.nan * v, rhs, noise_alone(4), tolerance=1e-9)
    graded = jnp.asarray([[1.0], [10.0], [100.0], [1000.0]])
    with raises("in 2 products: raise `tolerance`", NumericalError):
        solve(
            lambda v: graded * v,
            rhs,
            noise_alone(4),
            tolerance=1e-9,
            max_iterations=2,
        )
