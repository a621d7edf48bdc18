"""How the kernel of all training images is solved with, where it is not held whole."""

import dataclasses
import os
from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from theory import files
from theory.errors import InputError, check_count
from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.routes.exact import (
    conjugate_gradient,
    preconditioners,
    tiled_cholesky,
    tiles,
)
from theory.routes.exact.conjugate_gradient import Solution

# Columns of a preconditioner at most: 1 GB of 60 000 images in float32.
_RANK = 4096

# (what is being done, how much is done, of how much)
Report = Callable[[str, int, int], None]


@runtime_checkable
class Solve(Protocol):
    """Solves with the kernel and the ridge on its diagonal."""

    def __call__(
        self, rhs: Float[Array, "n m"], *, slack: float | np.ndarray = 1.0
    ) -> Solution:
        """Solves to residuals of `slack`, of each column, times the tolerance."""
        ...


@runtime_checkable
class Solver(Protocol):
    """What `theory.exact_iterative` asks of a way to solve."""

    @property
    def mesh(self) -> Mesh | None:
        """Devices to split the rows of kernels over."""
        ...

    def check(self) -> None:
        """Raises `InputError` on settings that make no sense. Host only."""
        ...

    def prepared(
        self, arch: Architecture, x: Float[Array, "n d"], ridge: float, report: Report
    ) -> Solve:
        """Returns what solves with the kernel of `x` and the ridge on its diagonal."""
        ...

    def clean_up(self) -> None:
        """Deletes what `prepared` left on disk, after the last draw or a failure."""
        ...


def _in_tiles(arch, x, report, file=None) -> tiles.SymmetricTiles:
    return tiles.ntk(
        x, arch, file=file, progress=lambda done, of: report("kernel", done, of)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cholesky:
    """The half kernel, factored in its place: n^3/3 multiply-adds.

    Where corruption is light and many iterations would be needed, or for `init_var` at
    many points. Memory: the half kernel, 2 n^2 bytes in float32.
    """

    mesh: ClassVar[Mesh | None] = None

    def check(self) -> None:
        """There is nothing to set."""

    def clean_up(self) -> None:
        """There is nothing to delete."""

    def prepared(
        self, arch: Architecture, x: Float[Array, "n d"], ridge: float, report: Report
    ) -> Solve:
        """Returns what solves with the factor; its residual is not known, None."""
        factored = tiled_cholesky.TiledCholesky(
            _in_tiles(arch, x, report),
            ridge,
            lambda done, of: report("factor", done, of),
        )

        least = factored.margin * factored.smallest

        def solve(rhs, *, slack=1.0):
            del slack  # the factor is there
            return Solution(factored.solve(rhs), None, 0, least)

        return solve


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConjugateGradient:
    """Products with the kernel, n^2 (c + k) each, until the residual is small.

    All right-hand sides share their directions. Preconditioned by the part of the
    kernel that is linear in the images, or where corruption is light by `rank` of its
    columns. Memory: half a kernel, 2 n^2 bytes in float32, none with `file` or
    `recompute`; 4 n rank for the columns, twice that before there is a kernel.

    Attributes:
        tolerance: largest residual, relative to the targets.
        max_iterations: products after which to give up.
        file: where to put the half kernel instead of memory; deleted at the end.
        recompute: whether to compute the kernel anew at every product instead.
        rank: columns of the kernel that the preconditioner may take, None for n/8 and
            at most 4 096, 0 for the linear part.
        mesh: devices to split the rows of the (whole) kernel over, on this host or on
            several, all of which must make the same call and get the same result.
    """

    tolerance: float = 1e-5
    max_iterations: int = 500
    file: str | os.PathLike[str] | None = None
    recompute: bool = False
    rank: int | None = None
    mesh: Mesh | None = None

    def check(self) -> None:
        """Raises `InputError` on settings that make no sense. Host only."""
        if not self.tolerance > 0:
            raise InputError(f"`tolerance` must be positive, got {self.tolerance}.")
        check_count("max_iterations", self.max_iterations)
        if self.rank is not None:
            check_count("rank", self.rank, least=0)
        for name in ("recompute", "mesh"):
            if self.file is not None and getattr(self, name):
                raise InputError(
                    f"`file` and `{name}` exclude each other: pass one of them."
                )
        if self.file is not None and files.expanded(self.file).exists():
            raise InputError(f"`file` must not exist, got {self.file}.")

    def prepared(
        self, arch: Architecture, x: Float[Array, "n d"], ridge: float, report: Report
    ) -> Solve:
        """Returns what iterates; the end of it is not known, and told as the most."""
        n = len(x)
        rank = min(n // 8, _RANK) if self.rank is None else min(self.rank, n)
        # first: what it takes on the way is free again when there is a kernel
        precondition = preconditioners.preconditioner(x, arch, ridge, rank)
        if self.recompute:
            times = lambda v: matrices.gram_product(x, v, arch, mesh=self.mesh)
        elif self.mesh is not None:
            times = tiles.SplitRows(x, arch, self.mesh).__matmul__
        else:
            times = _in_tiles(arch, x, report, self.file).__matmul__

        def solve(rhs, *, slack=1.0):
            return conjugate_gradient.solve(
                lambda v: times(v) + ridge * v,
                rhs,
                precondition,
                tolerance=slack * self.tolerance,
                max_iterations=self.max_iterations,
                progress=lambda done, _: report("solve", done, self.max_iterations),
            )

        return solve

    def clean_up(self) -> None:
        """Deletes the file."""
        if self.file is not None:
            files.expanded(self.file).unlink(missing_ok=True)
