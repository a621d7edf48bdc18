"""A symmetric kernel of many points, kept for products with it.

On one device, tiles of its upper half, in memory or in a file: 2 n^2 bytes in float32,
and products at the speed at which they are read. What lies below the diagonal is never
computed. On several devices, all of its rows, split among them.
"""

import functools
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from theory import files
from theory.errors import InputError
from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.numerics import devices, memory
from theory.numerics.edges import matmul

Progress = Callable[[int, int], None]

# Rows per tile. Large enough for its product to cost what reading it costs.
TILE = 2048
# Columns above which the product with the upper half is faster from the transpose, too.
# Per tile, both products, float32, two cores of an Intel Xeon with AVX-512: 10 columns
# 3.5 ms for 3.9, 128 10.6 for 10.8, 210 18.2 for 16.0 (14.9 at the rate of a product of
# large matrices).
_LYING = 160


def positions(n: int, size: int) -> list[tuple[int, int]]:
    """Returns the block numbers (row, column) of the tiles of n points, row by row."""
    count = math.ceil(n / size)
    return [(i, j) for i in range(count) for j in range(i, count)]


def storage(n: int, dtype: np.dtype, size: int = TILE) -> int:
    """Returns the bytes that the tiles of n points take."""
    return len(positions(n, size)) * size**2 * np.dtype(dtype).itemsize


@functools.partial(jax.jit, donate_argnames=("out", "mirrored"))
def _add_tile(out, mirrored, tile, v, lying, i, j):
    """Adds what a tile at block (i, j), and its mirror image, do to `v`.

    The latter to `mirrored`, which lies as `lying`, the transpose of `v`, does: a
    product that has to be turned over goes through the tile against its memory. Where
    `v` has many columns `out` lies so as well.
    """
    size = tile.shape[0]
    part = lambda x, k, axis: jax.lax.dynamic_slice_in_dim(x, k * size, size, axis)
    add = lambda whole, k, more, axis: jax.lax.dynamic_update_slice_in_dim(
        whole, part(whole, k, axis) + more, k * size, axis
    )
    if v is None:
        out = add(out, i, matmul(part(lying, j, 1), tile.T), 1)
    else:
        out = add(out, i, matmul(tile, part(v, j, 0)), 0)
    found = matmul(part(lying, i, 1), tile)
    return out, add(mirrored, j, jnp.where(i == j, 0, found), 1)


def _times_tiles(
    tiles: Iterable[Array], v: Float[Array, "n m"], size: int
) -> Float[Array, "n m"]:
    """The matrix of which `tiles` are the upper half, row by row, times `v`."""
    n, m = v.shape
    v = jnp.pad(v, ((0, -n % size), (0, 0)))
    lying = v.T
    mirrored = jnp.zeros_like(lying)
    upright = None if m > _LYING else v
    out = jnp.zeros_like(lying if upright is None else v)
    for tile, (i, j) in zip(tiles, positions(n, size), strict=True):
        out, mirrored = _add_tile(out, mirrored, tile, upright, lying, i, j)
    found = (out + mirrored).T if upright is None else out + mirrored.T
    return found[:n]


class SymmetricTiles:
    """The NTK of a set of points with itself, as `tiles.ntk` makes it.

    Attributes:
        shape: (n, n), of n points.
        size: rows of a tile.
    """

    def __init__(self, n: int, tiles: list[Array] | np.memmap, size: int):
        """Holds `tiles` (size, size) of the upper half, in the order of `positions`."""
        self.shape, self.size = (n, n), size
        self._tiles = tiles

    def __matmul__(self, v: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Returns the kernel times `v`: 2 n^2 m operations, every tile read once."""
        # Not a loop of XLA, which would copy every tile out of a stack, or hold a file.
        return _times_tiles((jnp.asarray(tile) for tile in self._tiles), v, self.size)

    def released(self) -> list[Float[Array, "b b"]]:
        """Returns the tiles, which are no longer held here, to be changed in place."""
        if not isinstance(self._tiles, list):
            raise InputError("tiles in a file stay there: make them without `file`.")
        tiles, self._tiles = self._tiles, []
        return tiles


@jax.jit
def _times(matrix, v):
    return matmul(matrix, v)


class SplitRows:
    """The NTK of points with themselves, its rows split over the devices of a mesh.

    n^2 numbers over all devices. On several hosts all must multiply together, by the
    same values.

    Attributes:
        shape: (n, n), of n points.
    """

    def __init__(self, x: Float[Array, "n d"], arch: Architecture, mesh: Mesh):
        """Computes the kernel, with copies of the last point where devices lack rows.

        Raises:
            InputError: as `theory.gram`.
        """
        n = len(x)
        self.shape, self._mesh, self._missing = (n, n), mesh, -n % mesh.size
        filled = jnp.pad(x, ((0, self._missing), (0, 0)), mode="edge")
        self._matrix = matrices.ntk_gram(filled, arch, mesh=mesh)

    def __matmul__(self, v: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Returns the kernel times `v`: 2 n^2 m operations, over all devices."""
        filled = jnp.pad(v, ((0, self._missing), (0, 0)))
        (everywhere,) = devices.on_devices((), (filled,), self._mesh)
        return devices.gathered(_times(self._matrix, everywhere), self._mesh)[: len(v)]


def _each(
    x: Float[Array, "n d"], arch: Architecture, size: int, kind: str = "ntk"
) -> Iterator[Float[Array, "b b"]]:
    """Yields the tiles; points that fill up the last are copies of the last."""
    n = x.shape[0]
    x = jnp.pad(x, ((0, -n % size), (0, 0)), mode="edge")
    for i, j in positions(n, size):
        rows, columns = (x[k * size : (k + 1) * size] for k in (i, j))
        if i == j and kind == "ntk":
            yield matrices.ntk_gram(rows, arch)
        elif i == j:
            yield matrices.gram(rows, arch).nngp
        else:
            yield getattr(matrices, kind)(rows, columns, arch)


def nngp_product(
    x: Float[Array, "n d"],
    v: Float[Array, "n m"],
    arch: Architecture,
    *,
    size: int = TILE,
    progress: Progress | None = None,
) -> Float[Array, "n m"]:
    """Returns the NNGP of points with themselves times `v`, without holding it.

    n^2 (d/2 + m) multiply-adds: half of the entries of `theory.gram_product`. Memory
    is one tile and three times the result.
    """
    count = len(positions(len(x), size))

    def each():
        for k, tile in enumerate(_each(x, arch, size, "nngp")):
            # one at a time: tiles are made faster than they are used up
            yield jax.block_until_ready(tile)
            if progress is not None:
                progress(k + 1, count)

    return _times_tiles(each(), v, size)


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
    n, order = x.shape[0], positions(x.shape[0], size)
    needed = storage(n, x.dtype, size)
    if file is None:
        memory.check_memory(
            needed,
            f"half a kernel of {n} points in {x.dtype}",
            "give a `file` to put it in, use float32, or theory.ntk_product, which "
            "computes it anew at every product",
        )
        tiles = []
    else:
        path = files.expanded(file)
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
