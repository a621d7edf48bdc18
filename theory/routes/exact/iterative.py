"""The exact infinite-width route for many images: all of MNIST on a laptop.

What `theory.exact` computes by a Cholesky factorisation of a kernel that is held whole,
is computed here from half a kernel in float32: by conjugate gradients, a few dozen
products of n^2 each, or factored in its place. How far that is from the solution is in
the diagnostics, measured in float64, and can be refined.
"""

import contextlib
import functools
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from theory.corruption.base import Corruption
from theory.corruption.copies import corrupt_problem
from theory.errors import InputError
from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.kernels.truncation import check_truncation, worst_truncation
from theory.outputs.draws import Draws
from theory.problem import Problem
from theory.routes import checks
from theory.routes.exact import conjugate_gradient, draw_loop, tiled_cholesky, tiles

Progress = Callable[[str, int, int], None]

_seen = jax.jit(corrupt_problem, static_argnames="copies")


def _widened(tree):
    """In float64, or in float32 where x64 is switched off."""
    wide = jax.dtypes.canonicalize_dtype(np.float64)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, wide), tree)


def _left(arch, x, y, weights, ridge, rows, mesh):
    """Targets less predictions at some training rows, the kernel computed anew."""
    arch, x, y, weights = _widened((arch, x, y, weights))
    fitted = matrices.gram_product(x, weights, arch, rows=rows, mesh=mesh)
    return y[rows] - fitted - ridge * weights[rows]


def _audit(arch, x, y, weights, ridge, rows, mesh):
    """The largest residual of a class over its targets, at some training rows."""
    left = _left(arch, x, y, weights, ridge, rows, mesh)
    return (jnp.linalg.norm(left, axis=0) / jnp.linalg.norm(y[rows], axis=0)).max()


def _init_var(arch, x, x_test, solve, mesh):
    """theory/README.md (11) at a few test points."""
    smoothed = solve(matrices.ntk(x, x_test, arch)).weights
    learned = matrices.gram_product(x, smoothed, arch, kind="nngp", mesh=mesh)
    learned = learned - 2 * matrices.nngp(x, x_test, arch)
    prior = matrices.nngp_ntk_diag(x_test, arch).nngp
    return prior + (smoothed * learned).sum(axis=0)


def exact_iterative(
    arch: Architecture,
    noise: Corruption,
    problem: Problem,
    *,
    draws: int,
    key: Array,
    ridge: float = 0.0,
    copies: int = 1,
    test_corruption: Corruption | None = None,
    first_draw: int = 0,
    tolerance: float = 1e-5,
    max_iterations: int = 500,
    refine: int = 0,
    init_var_at: Int[Array, " k"] | np.ndarray | None = None,
    file: str | os.PathLike[str] | None = None,
    recompute: bool = False,
    factor: bool = False,
    mesh: Mesh | None = None,
    audit_rows: int = 1000,
    progress: Progress | None = None,
) -> Draws:
    """Computes the infinite-width prediction of each draw from half a kernel.

    The same numbers as `theory.exact`, for training to the end. Cost per draw, n
    training rows, m test points and k of them with `init_var`: n^2 d/2 for the kernel,
    n^2 (c + k) for each product, n m d for the outputs and n^2 d for `init_var`. MNIST,
    erf, depth 3, took 7 to 20 products at p = .5 and .9, N = 4 000 to 60 000, and 170
    without corruption. Memory: half a kernel, 2 n^2 bytes in float32, none with `file`
    or `recompute`.

    Args:
        arch: the architecture.
        noise: the corruption of the training images.
        problem: the data; its dtype is that of the kernel. In float32 the audited
            residual ends at 5e-6 (N = 6 000) to 2e-5 (60 000).
        draws: number of corruption draws.
        key: typed PRNG key, as in `theory.exact`.
        ridge: added to the diagonal of the kernel, in its units.
        copies: as in `theory.exact`.
        test_corruption: as in `theory.exact`.
        first_draw: number of the first draw.
        tolerance: largest residual, relative to the targets.
        max_iterations: products after which to give up.
        refine: steps of iterative refinement: residuals of all rows in float64, with
            the kernel computed anew (n^2 d), and a solve for each. One takes the
            residual of a float32 kernel to 1e-10 at p = .9 and 1e-6 without corruption
            (MNIST, N = 4 000 and 8 000); outputs are float64 then.
        init_var_at: test points to compute `init_var` at; each is one more right-hand
            side.
        file: where to put the half kernel instead of memory; deleted at the end.
        recompute: whether to compute the kernel anew at every product instead.
        factor: whether to factor the half kernel in its place (n^3/3) rather than
            iterate: where corruption is light and many iterations are needed, or for
            `init_var` at many points.
        mesh: devices to split the rows of the (whole) kernel over, on this host or on
            several, all of which must make the same call and get the same result.
        audit_rows: training rows of the residual in float64.
        progress: called with (what is being done, how much is done, of how much); of
            conjugate gradients, whose end is not known, with `max_iterations`.

    Returns:
        Draws with outputs (draws, 1, n_test, c); `init_var` is NaN but `init_var_at`,
        None without. Diagnostics per draw: `residual` of the iteration, the largest of
        the classes (NaN with `factor`); `audited_residual`, the same at `audit_rows`
        rows with the kernel recomputed in float64 (if x64 is on); `iterations`, without
        those of `init_var`; `truncation_error`.

    Raises:
        InputError: bad arguments, or half a kernel larger than memory or disk.
        NumericalError: an indefinite kernel, no convergence, or a quadrature dual
            whose series is too short.
    """
    checks.check_inputs(
        arch,
        noise,
        problem,
        draws=draws,
        copies=copies,
        test_corruption=test_corruption,
    )
    checks.check_ridge(ridge)
    if not isinstance(refine, int) or refine < 0:
        raise InputError(f"`refine` must be an integer of at least 0, got {refine!r}.")
    if not tolerance > 0:
        raise InputError(f"`tolerance` must be positive, got {tolerance}.")
    if audit_rows < 1:
        raise InputError(f"`audit_rows` must be at least 1, got {audit_rows}.")
    m = len(problem.x_test)
    asked = np.asarray([] if init_var_at is None else init_var_at)
    if ((asked < 0) | (asked >= m)).any():
        raise InputError(
            f"`init_var_at` must be test points 0 ... {m - 1}, got {asked}."
        )
    how = {"file": file, "factor": factor, "recompute": recompute, "mesh": mesh}
    chosen = [name for name, value in how.items() if value]
    if len(chosen) > 1 and chosen != ["recompute", "mesh"]:
        raise InputError(
            f"`{chosen[0]}` and `{chosen[1]}` exclude each other: pass one of them."
        )
    if file is not None and os.path.exists(file):
        raise InputError(f"`file` must not exist, got {file}.")
    report = progress or (lambda what, done, of: None)
    in_tiles = lambda x: tiles.ntk(
        x, arch, file=file, progress=lambda done, of: report("kernel", done, of)
    )

    def one(k):
        seen = _seen(
            noise, problem, key, k, copies=copies, test_corruption=test_corruption
        )
        x, y = seen.x_train, seen.y
        truncation = float(worst_truncation(arch, seen))
        check_truncation(arch, truncation)
        if factor:
            factored = tiled_cholesky.TiledCholesky(
                in_tiles(x), ridge, lambda done, of: report("factor", done, of)
            )
            nothing = jnp.full(y.shape[1], jnp.nan, x.dtype)
            solve = lambda rhs: conjugate_gradient.Solution(
                factored.solve(rhs), nothing, 0
            )
        else:
            if recompute:
                times = lambda v: matrices.gram_product(x, v, arch, mesh=mesh)
            elif mesh is not None:
                times = tiles.SplitRows(x, arch, mesh).__matmul__
            else:
                times = in_tiles(x).__matmul__
            solve = functools.partial(
                conjugate_gradient.solve,
                lambda v: times(v) + ridge * v,
                precondition=conjugate_gradient.linear_part(x, arch, ridge),
                tolerance=tolerance,
                max_iterations=max_iterations,
                progress=lambda done, _: report("solve", done, max_iterations),
            )

        solution = solve(y)
        weights, iterations = solution.weights, solution.iterations
        everywhere = np.arange(len(x))
        for step in range(refine):
            left = _left(arch, x, y, weights, ridge, everywhere, mesh)
            report("refine", step + 1, refine)
            correction = solve(left.astype(x.dtype))
            weights = _widened(weights) + correction.weights
            iterations += correction.iterations
        points = (seen.x_test, x, weights, arch)
        points = _widened(points) if refine else points
        outputs = matrices.ntk_product(*points, mesh=mesh)
        init_var = None
        if init_var_at is not None:
            init_var = jnp.full(len(seen.x_test), jnp.nan, x.dtype)
            found = _init_var(arch, x, seen.x_test[asked], solve, mesh)
            init_var = init_var.at[asked].set(found)
        rows = np.linspace(0, len(x) - 1, min(audit_rows, len(x))).astype(int)
        diagnostics = {
            "residual": solution.residual.max(),
            "audited_residual": _audit(arch, x, y, weights, ridge, rows, mesh),
            "iterations": jnp.asarray(iterations),
            "truncation_error": jnp.asarray(truncation),
        }
        return outputs[None], init_var, diagnostics

    try:
        (outputs, init_var, diagnostics), keys = draw_loop.over_draws(
            one, key=key, draws=draws, first_draw=first_draw, progress=None
        )
    finally:
        if file is not None:
            with contextlib.suppress(FileNotFoundError):
                os.remove(file)
    return Draws(
        outputs=outputs, init_var=init_var, draw_keys=keys, diagnostics=diagnostics
    )
