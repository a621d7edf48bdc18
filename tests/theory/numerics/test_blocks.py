"""Blockwise loops that cover everything once, and the memory check."""

import types

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


@pytest.mark.parametrize("n", [1, 16, 250, 256, 257, 1000, 4000])
@pytest.mark.parametrize("most", [1, 7, 16, 128, 250, 256])
def test_even_blocks_are_the_fewest_and_repeat_little(n, most):
    size = blocks.evenly(n, most)
    assert 1 <= size <= min(n, most)
    room = most - most % 16 if most > 16 else most
    count = -(-n // size)
    assert count == -(-n // room)
    # what is computed twice: less than 16 rows a block
    assert count * size - n < 16 * count
    assert size % 16 == 0 or size in (n, most)


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


def test_squares_turned_over_are_large_on_an_accelerator(monkeypatch):
    monkeypatch.setattr(memory, "block_bytes", lambda: 2**25)
    assert blocks._mirrored_rows(8) == 64
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert blocks._mirrored_rows(8) == 1448  # two of 2^24 bytes
    matrix = jnp.asarray(np.triu(np.random.default_rng(0).random((11, 11))))
    whole = np.asarray(blocks.mirror(matrix))
    assert np.array_equal(whole, whole.T)
    assert np.array_equal(np.triu(whole), matrix)


# --- memory --------------------------------------------------------------------


def test_available_bytes():
    free = memory.available_bytes()
    assert free is None or 2**20 < free < 2**50


def _accelerator(monkeypatch, stats):
    device = types.SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "devices", lambda: [device])


def test_an_accelerator_works_on_a_millisecond_of_its_bandwidth(monkeypatch):
    # by the data sheets, bytes and bytes a second: V100, A100, H100, H200
    for size, rate in (
        (32e9, 0.9e12),
        (80e9, 2.0e12),
        (80e9, 3.35e12),
        (141e9, 4.8e12),
    ):
        _accelerator(monkeypatch, {"bytes_limit": int(size)})
        assert memory.block_bytes() == pytest.approx(1e-3 * rate, rel=0.35)
    _accelerator(monkeypatch, None)
    assert memory.block_bytes() == pytest.approx(2**34 / 30, rel=0.01)


def test_a_processor_works_on_what_its_caches_hold(monkeypatch, tmp_path):
    for index, (level, size) in enumerate([("1", "48K"), ("2", "1280K"), ("3", "9M")]):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "level").write_text(level + "\n")
        (folder / "size").write_text(size + "\n")
    monkeypatch.setattr(memory, "_CACHES", tmp_path)
    one = memory._second_level.__wrapped__
    assert one() == 1280 * 2**10
    monkeypatch.setattr(memory, "_second_level", one)
    monkeypatch.setattr(memory, "_cores", lambda: 6)
    assert memory.block_bytes() == 6 * 1280 * 2**10
    (tmp_path / "index1" / "size").write_text("unknown\n")
    assert one() == 2**20
    monkeypatch.setattr(memory, "_CACHES", tmp_path / "nowhere")
    assert one() == 2**20


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
