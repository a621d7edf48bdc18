"""A symmetric kernel of many points: tiles of its upper half, in memory or in a file.

Half the memory of the matrix, 2 n^2 bytes in float32, and products with it at the speed
at which it is read. What lies below the diagonal is never computed.
"""

import functools
import math
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory import blocks, kernels
from theory._numerics import matmul
from theory.errors import InputError
from theory.problem import Architecture

Progress = Callable[[int, int], None]

# Rows per tile. Large enough for its product to cost what reading it costs.
TILE = 2048


def _order(n: int, size: int) -> list[tuple[int, int]]:
    """Block numbers (row, column) of the tiles, row by row."""
    count = math.ceil(n / size)
    return [(i, j) for i in range(count) for j in range(i, count)]


def storage(n: int, dtype: np.dtype, size: int = TILE) -> int:
    """Returns the bytes that the tiles of n points take."""
    return len(_order(n, size)) * size**2 * np.dtype(dtype).itemsize


@functools.partial(jax.jit, donate_argnames="out")
def _add_tile(out, tile, v, i, j):
    """Adds what a tile at block (i, j), and its mirror image, do to `v`."""
    size = tile.shape[0]
    part = lambda x, k: jax.lax.dynamic_slice_in_dim(x, k * size, size)
    add = lambda out, k, more: jax.lax.dynamic_update_slice_in_dim(
        out, part(out, k) + more, k * size, 0
    )
    out = add(out, i, matmul(tile, part(v, j)))
    mirrored = matmul(part(v, i).T, tile).T
    return add(out, j, jnp.where(i == j, 0, mirrored))


class SymmetricTiles:
    """The NTK of a set of points with itself, as `tiles.ntk` makes it.

    Attributes:
        shape: (n, n), of n points.
    """

    def __init__(self, n: int, tiles: list[Array] | np.memmap, size: int):
        """Holds `tiles` (b, b) of `size` = b rows in the order of the upper half."""
        self.shape = n, n
        self._tiles, self._size = tiles, size

    def __matmul__(self, v: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Returns the kernel times `v`: 2 n^2 m operations, every tile read once."""
        n = self.shape[0]
        v = jnp.pad(v, ((0, -n % self._size), (0, 0)))
        out = jnp.zeros_like(v)
        order = _order(n, self._size)
        # Not a loop of XLA, which would copy every tile out of a stack, or hold a file.
        for tile, (i, j) in zip(self._tiles, order, strict=True):
            out = _add_tile(out, jnp.asarray(tile), v, i, j)
        return out[:n]


def _each(
    x: Float[Array, "n d"], arch: Architecture, size: int
) -> Iterator[Float[Array, "b b"]]:
    """Yields the tiles; points that fill up the last are copies of the last."""
    n = x.shape[0]
    x = jnp.pad(x, ((0, -n % size), (0, 0)), mode="edge")
    for i, j in _order(n, size):
        rows, columns = (x[k * size : (k + 1) * size] for k in (i, j))
        if i == j:
            yield kernels.ntk_gram(rows, arch)
        else:
            yield kernels.ntk(rows, columns, arch)


def ntk(
    x: Float[Array, "n d"],
    arch: Architecture,
    *,
    size: int = TILE,
    file: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> SymmetricTiles:
    """Computes the NTK of points with themselves, for products with it.

    n^2 d/2 multiply-adds. 60 000 points in float32 take 7.8 GB.

    Args:
        x: points; their dtype is that of the kernel.
        arch: the architecture.
        size: rows per tile.
        file: where to put the tiles instead of memory, n (n + size)/2 numbers, read
            from there at every product; overwritten, and left to the caller to delete.
        progress: called with (tiles done, tiles).

    Raises:
        InputError: as `theory.gram`, for tiles that fit neither memory nor disk.
    """
    n, order = x.shape[0], _order(x.shape[0], size)
    needed = storage(n, x.dtype, size)
    if file is None:
        blocks.check_memory(
            needed,
            f"half a kernel of {n} points in {x.dtype}",
            "give a `file` to put it in, use float32, or theory.ntk_product, which "
            "computes it anew at every product",
        )
        tiles = []
    else:
        path = pathlib.Path(file)
        free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
        if free < needed:
            raise InputError(
                f"`file` must name a file in a folder with {needed / 2**30:.3g} GiB "
                f"free, got {path} ({free / 2**30:.3g} GiB)."
            )
        tiles = np.memmap(path, x.dtype, "w+", shape=(len(order), size, size))
    for k, tile in enumerate(_each(x, arch, size)):
        if isinstance(tiles, list):
            tiles.append(tile)
        else:
            tiles[k] = np.asarray(tile)
        if progress is not None:
            jax.block_until_ready(tile)
            progress(k + 1, len(order))
    return SymmetricTiles(n, tiles, size)
