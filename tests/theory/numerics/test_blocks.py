"""Blockwise loops that cover everything once, and the memory check."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close

from theory.errors import InputError
from theory.numerics import blocks, memory

SIZES = [(1, 1), (1, 4), (3, 4), (4, 4), (5, 4), (8, 4), (11, 4), (11, 1), (11, 100)]


@pytest.mark.parametrize(("n", "block"), SIZES)
def test_starts_cover_every_row(n, block):
    first = blocks.starts(n, block)
    size = min(block, n)
    covered = [np.arange(start, start + size) for start in first]
    assert np.array_equal(np.unique(covered), np.arange(n))
    assert len(first) == -(-n // size)


@pytest.mark.parametrize(("n", "block"), SIZES)
def test_map_rows(n, block):
    traces = []

    def fn(rows):
        traces.append(rows.shape)
        return {"sum": rows.sum(-1), "count": jnp.zeros_like(rows, jnp.int32) + 2}

    x = np.random.default_rng(0).standard_normal((n, 3))
    expected = {"sum": x.sum(-1), "count": np.full((n, 3), 2, np.int32)}
    if (n, block) == (11, 4):  # eagerly
        assert_close(blocks.map_rows(fn, jnp.asarray(x), block), expected)
    assert_close(jax.jit(lambda x: blocks.map_rows(fn, x, block))(x), expected)
    assert set(traces) == {(min(n, block), 3)}  # at this size alone


def test_map_rows_traces_once_whatever_the_number_of_blocks():
    def count(n):
        traces = []
        fn = lambda rows: traces.append(1) or rows
        jax.eval_shape(lambda x: blocks.map_rows(fn, x, 4), np.zeros((n, 2)))
        return len(traces)

    assert count(40) == count(9)


def entry(i, j):
    """A symmetric function of the indices, different for every pair."""
    return 100 * np.minimum(i, j) + np.maximum(i, j)


def tile(n1, n2, block):
    """The block function of `entry`, as a pytree; all numbers are integers."""
    values = jnp.asarray(whole(n1, n2), float)

    def at(i, j):
        size = min(block[0], n1), min(block[1], n2)
        part = jax.lax.dynamic_slice(values, (i, j), size)
        return {"double": part, "single": part.astype(jnp.float32)}

    return at


def whole(n1, n2):
    return entry(np.arange(n1)[:, None], np.arange(n2)[None, :])


def check(filled, n1, n2):
    expected = {"double": np.float64, "single": np.float32}
    assert {name: part.dtype for name, part in filled.items()} == expected
    for part in filled.values():
        np.testing.assert_array_equal(part, whole(n1, n2))


# Rows: one block, blocks that divide and that do not, of one row; columns likewise.
@pytest.mark.parametrize(
    ("n", "rows", "n2"),
    [
        *((1, 1, 1), (1, 4, 6), (3, 4, 4), (4, 4, 1), (5, 4, 4), (5, 4, 6), (8, 4, 6)),
        *((8, 4, 1), (11, 4, 4), (11, 4, 6), (11, 1, 1), (11, 1, 4), (11, 100, 6)),
    ],
)
def test_fill(n, rows, n2):
    block = rows, 3
    check(jax.jit(lambda: blocks.fill(tile(n, n2, block), n, n2, block))(), n, n2)


@pytest.mark.parametrize(
    ("n", "rows", "columns"),
    [
        *((1, 1, 1), (1, 4, 3), (3, 4, 1), (3, 4, 8), (4, 4, 3), (4, 4, 4), (5, 4, 3)),
        *((5, 4, 4), (5, 4, 8), (8, 4, 1), (8, 4, 4), (8, 4, 8), (11, 4, 1)),
        *((11, 4, 3), (11, 4, 4), (11, 4, 8), (11, 1, 3), (11, 1, 8), (11, 100, 4)),
    ],
)
def test_fill_upper_and_mirror(n, rows, columns):
    block = rows, columns

    @jax.jit
    def filled():
        upper = blocks.fill_upper(tile(n, n, block), n, block)
        return jax.tree.map(lambda matrix: blocks.mirror(matrix, rows), upper)

    check(filled(), n, n)


def test_symmetric_blocks_are_computed_once():
    calls = []

    def fn(i, j):
        jax.debug.callback(lambda i, j: calls.append((int(i), int(j))), i, j)
        return jnp.zeros((4, 4))

    jax.block_until_ready(blocks.fill_upper(fn, 12, (4, 4)))
    jax.effects_barrier()
    assert sorted(calls) == [(0, 0), (0, 4), (0, 8), (4, 4), (4, 8), (8, 8)]


def test_wide_blocks_below_the_diagonal_are_left_out():
    calls = []

    def fn(i, j):
        jax.debug.callback(lambda i, j: calls.append((int(i), int(j))), i, j)
        return jnp.zeros((2, 4))

    jax.block_until_ready(blocks.fill_upper(fn, 8, (2, 4)))
    jax.effects_barrier()
    assert sorted(calls) == [(0, 0), (0, 4), (2, 0), (2, 4), (4, 4), (6, 4)]


def test_blocks_in_doubt_are_done_again_and_no_others():
    n, block, calls = 11, (4, 3), []
    first = tile(n, n, block)

    def doubting(i, j):
        found = jax.tree.map(lambda part: part.at[0, 0].add(i + 10.0 * j), first(i, j))
        return found, i + 10 * j > 0

    def again(i, j):
        jax.debug.callback(lambda i, j: calls.append((int(i), int(j))), i, j)
        return first(i, j)

    check(jax.jit(lambda: blocks.fill(doubting, n, n, block, again=again))(), n, n)
    jax.effects_barrier()
    rows, columns = (0, 4, 7), (0, 3, 6, 8)
    doubtful = [(i, j) for i in rows for j in columns if (i, j) != (0, 0)]
    assert sorted(calls) == doubtful

    @jax.jit
    def filled():
        upper = blocks.fill_upper(doubting, n, block, again=again)
        return jax.tree.map(lambda matrix: blocks.mirror(matrix, 4), upper)

    check(filled(), n, n)


# --- memory --------------------------------------------------------------------


def test_available_bytes():
    free = memory.available_bytes()
    assert free is None or 2**20 < free < 2**50


def test_check_memory(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 * 2**29)
    memory.check_memory(3 * 2**29, "it", "do less")  # what is free may be used
    with pytest.raises(
        InputError, match=r"^it needs 2 GiB and 1\.5 GiB are free: do less\.$"
    ):
        memory.check_memory(2**31, "it", "do less")


def test_nothing_is_refused_where_nothing_tells(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    memory.check_memory(2**80, "it", "do less")
