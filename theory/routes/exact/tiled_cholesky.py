"""The Cholesky factor of a symmetric kernel in tiles, in place.

K = U^T U, tile by tile: no more memory than half of the kernel takes and one tile.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.errors import NumericalError
from theory.numerics.edges import matmul
from theory.routes.exact.tiles import SymmetricTiles, positions

Progress = Callable[[int, int], None]


@functools.partial(jax.jit, donate_argnums=0)
def _inside(tile, i, j, n, ridge):
    """The tile at block (i, j) with `ridge`; rows and columns from n on are those of 1.

    They stand for copies of the last point, with which the kernel would be singular.
    """
    at = jnp.arange(len(tile))
    rows, columns = (k * len(tile) + at for k in (i, j))
    own = rows[:, None] == columns[None, :]
    outside = (rows >= n)[:, None] | (columns >= n)[None, :]
    one = jnp.ones((), tile.dtype)
    return jnp.where(outside, jnp.where(own, one, 0), tile + jnp.where(own, ridge, 0))


@functools.partial(jax.jit, donate_argnums=0)
def _factor(tile, diagonal):
    """U of a tile of the diagonal, and its smallest pivot over `diagonal`."""
    lower = jax.lax.linalg.cholesky(tile, symmetrize_input=False)
    pivots = jnp.diagonal(lower) ** 2 / diagonal
    return lower.T, pivots.min()


_substituted = functools.partial(jax.scipy.linalg.solve_triangular, lower=False)


@functools.partial(jax.jit, donate_argnums=1)
def _beside(upper, tile):
    return _substituted(upper, tile, trans=1)


@functools.partial(jax.jit, static_argnames="trans", donate_argnums=0)
def _less(part, tile, other, *, trans):
    return part - matmul(tile.T if trans else tile, other)


@functools.partial(jax.jit, static_argnames="trans")
def _solved(upper, rhs, *, trans):
    return _substituted(upper, rhs, trans=trans)


class TiledCholesky:
    """The factor U of a kernel plus `ridge`, for solves with it.

    Attributes:
        margin: smallest pivot over the diagonal entry it started from.
        smallest: diagonal entry.
    """

    def __init__(
        self,
        kernel: SymmetricTiles,
        ridge: float = 0.0,
        progress: Progress | None = None,
    ):
        """Factors a kernel in memory: n^3/3 multiply-adds. It cannot be used after.

        Args:
            kernel: tiles in memory.
            ridge: added to the diagonal, in units of the kernel.
            progress: called with (products of tiles done, of how many).

        Raises:
            NumericalError: for an indefinite kernel.
        """
        self._n, tiles = kernel.shape[0], kernel.released()
        self._tiles = dict(zip(positions(self._n, kernel.size), tiles, strict=True))
        del tiles
        count = 1 + max(j for _, j in self._tiles)
        self._count, self._size, found = count, kernel.size, []
        done, of = 0, count * (count + 1) * (count + 2) // 6
        for i, j in self._tiles:
            self._change(_inside, (i, j), i, j, self._n, ridge)
        diagonals = [jnp.diagonal(self._tiles[k, k]) for k in range(count)]
        self.smallest = float(jnp.concatenate(diagonals)[: self._n].min())
        for k, diagonal in enumerate(diagonals):
            self._tiles[k, k], margin = _factor(self._tiles[k, k], diagonal)
            found.append(float(margin))
            if not found[-1] > 0:
                raise NumericalError(
                    f"the kernel of {self._n} points in {self._tiles[k, k].dtype} is "
                    f"indefinite, found in row {k * self._size} or soon after: pass "
                    "`ridge`, use float64, or remove duplicate points."
                )
            for j in range(k + 1, count):
                self._tiles[k, j] = _beside(self._tiles[k, k], self._tiles[k, j])
            for i in range(k + 1, count):
                above = self._tiles[k, i]
                for j in range(i, count):
                    beside = self._tiles[k, j]
                    self._change(_less, (i, j), above, beside, trans=1)
            done += (count - k) * (count - k + 1) // 2
            if progress is not None:
                jax.block_until_ready(self._tiles[count - 1, count - 1])
                progress(done, of)
        self.margin = min(found)

    def _change(self, fn, at, *others, **settings):
        """Puts `fn` of the tile in its place."""
        self._tiles[at] = fn(self._tiles[at], *others, **settings)

    def solve(self, rhs: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Returns the inverse of the kernel times `rhs`: 2 n^2 m operations."""
        filled = jnp.pad(rhs, ((0, -len(rhs) % self._size), (0, 0)))
        parts = list(filled.reshape(self._count, self._size, -1))
        for k, part in enumerate(parts):
            parts[k] = _solved(self._tiles[k, k], part, trans=1)
            for j in range(k + 1, self._count):
                parts[j] = _less(parts[j], self._tiles[k, j], parts[k], trans=1)
        for k in reversed(range(self._count)):
            for j in range(k + 1, self._count):
                parts[k] = _less(parts[k], self._tiles[k, j], parts[j], trans=0)
            parts[k] = _solved(self._tiles[k, k], parts[k], trans=0)
        return jnp.concatenate(parts)[: len(rhs)]
