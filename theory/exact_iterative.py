"""The exact infinite-width route beyond what can be factored: all of MNIST on a laptop.

What `theory.exact` computes by a Cholesky factorisation, n^3/3, is computed here by
conjugate gradients, a few dozen products with the kernel, n^2 each, of which half is
held. How far that is from the solution is in the diagnostics, measured in float64.
"""

import contextlib
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from theory import conjugate_gradient, draw_loop, kernels, tiles
from theory.corrupted import corrupt_problem
from theory.corruption import Corruption
from theory.errors import InputError
from theory.laws import Draws
from theory.problem import Architecture, Problem

Progress = Callable[[str, int, int], None]

_seen = jax.jit(corrupt_problem, static_argnames="copies")


def _widened(tree):
    """In float64, or in float32 where x64 is switched off."""
    wide = jax.dtypes.canonicalize_dtype(np.float64)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, wide), tree)


def _left(arch, x, y, weights, ridge, rows):
    """Targets less predictions at some training rows, the kernel computed anew."""
    arch, x, y, weights = _widened((arch, x, y, weights))
    fitted = kernels.gram_product(x, weights, arch, rows=rows) + ridge * weights[rows]
    return y[rows] - fitted


def _audit(arch, x, y, weights, ridge, rows):
    """The largest residual of a class over its targets, at some training rows."""
    left = _left(arch, x, y, weights, ridge, rows)
    return (jnp.linalg.norm(left, axis=0) / jnp.linalg.norm(y[rows], axis=0)).max()


def _init_var(arch, x, x_test, solve):
    """theory/README.md (11) at a few test points."""
    smoothed = solve(kernels.ntk(x, x_test, arch)).weights
    learned = kernels.gram_product(x, smoothed, arch, kind="nngp")
    learned = learned - 2 * kernels.nngp(x, x_test, arch)
    prior = kernels.nngp_ntk_diag(x_test, arch).nngp
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
    audit_rows: int = 1000,
    progress: Progress | None = None,
) -> Draws:
    """Computes the infinite-width prediction of each draw by conjugate gradients.

    The same numbers as `theory.exact`, for training to the end. Cost per draw, n
    training rows, m test points and k of them with `init_var`: n^2 d/2 for the kernel,
    n^2 (c + k) for each product, n m d for the outputs and n^2 d for `init_var`. MNIST,
    erf, depth 3, took 7 to 20 products at p = .5 and .9, N = 4 000 to 60 000, and 170
    without corruption. Memory: half a kernel, 2 n^2 bytes in
    float32, none with `file` or `recompute`.

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
            accuracy of a float32 kernel to about 1e-10; outputs are float64 then.
        init_var_at: test points to compute `init_var` at; each is one more right-hand
            side.
        file: where to put the half kernel instead of memory; deleted at the end.
        recompute: whether to compute the kernel anew at every product instead.
        audit_rows: training rows of the residual in float64.
        progress: called with (what is being done, how much is done, of how much); of
            conjugate gradients, whose end is not known, with `max_iterations`.

    Returns:
        Draws with outputs (draws, 1, n_test, c); `init_var` is NaN but `init_var_at`,
        None without. Diagnostics per draw: `residual` of the iteration, the largest of
        the classes; `audited_residual`, the same at `audit_rows` rows with the kernel
        recomputed in float64 (if x64 is on); `iterations`, without those of `init_var`;
        `truncation_error`.

    Raises:
        InputError: bad arguments, or half a kernel larger than memory or disk.
        NumericalError: an indefinite kernel, no convergence, or a quadrature dual
            whose series is too short.
    """
    draw_loop.check_inputs(
        arch,
        noise,
        problem,
        draws=draws,
        copies=copies,
        test_corruption=test_corruption,
    )
    draw_loop.check_ridge(ridge)
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
    if file is not None and recompute:
        raise InputError("`file` and `recompute` exclude each other: pass one of them.")
    if file is not None and os.path.exists(file):
        raise InputError(f"`file` must not exist, got {file}.")
    report = progress or (lambda what, done, of: None)

    def one(k):
        seen = _seen(
            noise, problem, key, k, copies=copies, test_corruption=test_corruption
        )
        x, y = seen.x_train, seen.y
        truncation = float(draw_loop.truncation_error(arch, seen))
        draw_loop.check_truncation(arch, truncation)
        if recompute:
            apply = lambda v: kernels.gram_product(x, v, arch) + ridge * v
        else:
            matrix = tiles.ntk(
                x,
                arch,
                file=file,
                progress=lambda done, of: report("kernel", done, of),
            )
            apply = lambda v: matrix @ v + ridge * v
        linear = conjugate_gradient.linear_part(x, arch, ridge)

        def solve(rhs):
            return conjugate_gradient.solve(
                apply,
                rhs,
                linear,
                tolerance=tolerance,
                max_iterations=max_iterations,
                progress=lambda done, _: report("solve", done, max_iterations),
            )

        solution = solve(y)
        weights, iterations = solution.weights, solution.iterations
        everywhere = np.arange(len(x))
        for step in range(refine):
            left = _left(arch, x, y, weights, ridge, everywhere)
            report("refine", step + 1, refine)
            correction = solve(left.astype(x.dtype))
            weights = _widened(weights) + correction.weights
            iterations += correction.iterations
        points = (seen.x_test, x, weights, arch)
        outputs = kernels.ntk_product(*(_widened(points) if refine else points))
        init_var = None
        if init_var_at is not None:
            init_var = jnp.full(len(seen.x_test), jnp.nan, x.dtype)
            found = _init_var(arch, x, seen.x_test[asked], solve)
            init_var = init_var.at[asked].set(found)
        rows = np.linspace(0, len(x) - 1, min(audit_rows, len(x))).astype(int)
        diagnostics = {
            "residual": solution.residual.max(),
            "audited_residual": _audit(arch, x, y, weights, ridge, rows),
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
