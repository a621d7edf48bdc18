"""The exact infinite-width route for many images: all of MNIST on a laptop.

What `theory.exact` computes by a Cholesky factorisation of a kernel that is held whole,
is computed here from half a kernel in float32: by conjugate gradients, a few dozen
products of n^2 each, or factored in its place. How far that is from the solution is in
the diagnostics, measured in float64, and can be refined.
"""

import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from theory.corruption.base import Corruption
from theory.errors import InputError, NumericalError, check_count
from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.kernels.truncation import check_truncation, worst_truncation
from theory.numerics.signatures import checked
from theory.outputs.draws import Draws
from theory.problem import Problem
from theory.renamed import renamed
from theory.routes.exact import draw_loop, variances
from theory.routes.exact.solvers import (
    Cholesky,
    ConjugateGradient,
    Report,
    Solution,
    Solve,
    Solver,
)

# Largest error of an output, in units of the targets, that is let pass.
_OUTPUT_ERROR = 0.1


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
    # that of all rows: a class may be missing among some
    norm = jnp.linalg.norm(_widened(y), axis=0) * math.sqrt(len(rows) / len(y))
    norm = jnp.where(norm > 0, norm, 1)
    return (jnp.linalg.norm(left, axis=0) / norm).max()


def _output_error(arch, seen, residual: float, least: float) -> Array:
    """How far outputs may be off for the residual, in units of the targets.

    |k* K^{-1} r| is at most (k* K^{-1} k*)^{1/2} (r K^{-1} r)^{1/2}, the former below
    the prior of the test point, the latter below |r| over the root of the smallest
    eigenvalue, which is an estimate.

    Raises:
        NumericalError: where it is too large to be let pass.
    """
    prior = float(matrices.nngp_ntk_diag(seen.x_test, arch).ntk.max())
    size = float(jnp.linalg.norm(seen.y, axis=0).max())
    error = residual * size * math.sqrt(prior / least)
    if not error < _OUTPUT_ERROR:
        raise NumericalError(
            f"outputs may be off by {error:.2g}: the residual is {residual:.1g} of the "
            f"targets, the smallest eigenvalue of the kernel {least:.1g}; use float64, "
            "`refine=1`, a smaller `tolerance`, or pass `ridge`."
        )
    return jnp.asarray(error)


def _refined(
    solve: Solve, solution: Solution, steps: int, left_of, report: Report
) -> tuple[Array, int]:
    """Weights after `steps` of iterative refinement, and all iterations they took."""
    weights, iterations = solution.weights, solution.iterations
    for step in range(steps):
        left = left_of(weights)
        report("refine", step + 1, steps)
        correction = solve(left.astype(solution.weights.dtype))
        weights = _widened(weights) + _widened(correction.weights)
        iterations += correction.iterations
    return weights, iterations


def _one_draw(arch, seen, ridge, solver, *, refine, asked, audit_rows, report):
    """Outputs, `init_var` and diagnostics of one draw."""
    x, y, mesh = seen.x_train, seen.y, solver.mesh
    truncation = float(worst_truncation(arch, seen))
    check_truncation(arch, truncation)
    solve = solver.prepared(arch, x, ridge, report)
    smoothed, left_in_rows = None, None
    if asked is None or not len(asked):
        solution = solve(y)
    else:
        x_asked = seen.x_test[asked]
        solution, smoothed, left_in_rows = variances.smoothed(
            solve, x, x_asked, y, arch
        )
    left_of = lambda weights: _left(arch, x, y, weights, ridge, np.arange(len(x)), mesh)
    weights, iterations = _refined(solve, solution, refine, left_of, report)
    points = (seen.x_test, x, weights, arch)
    outputs = matrices.ntk_product(*(_widened(points) if refine else points), mesh=mesh)
    init_var = None if asked is None else jnp.zeros(0, x.dtype)
    if smoothed is not None:
        init_var = variances.init_var(arch, x, x_asked, smoothed, mesh)
    rows = np.linspace(0, len(x) - 1, min(audit_rows, len(x))).astype(int)
    audited = _audit(arch, x, y, weights, ridge, rows, mesh)
    diagnostics = {
        "audited_residual": audited,
        "output_error": _output_error(arch, seen, float(audited), solution.least),
        "iterations": jnp.asarray(iterations),
        "truncation_error": jnp.asarray(truncation),
    }
    if solution.residual is not None:
        diagnostics["residual"] = solution.residual.max()
    if left_in_rows is not None:
        diagnostics["init_var_residual"] = left_in_rows.max()
    return outputs[None], init_var, diagnostics


def _solver_of(solver: Solver | None, old: dict[str, Any]) -> Solver:
    """The solver, where arguments of the version before may say which."""
    of_solver = ("tolerance", "max_iterations", "file", "recompute", "mesh")
    if unknown := sorted(set(old) - {*of_solver, "factor"}):
        raise TypeError(f"exact_iterative() got an unexpected argument {unknown[0]!r}")
    if not old:
        return ConjugateGradient() if solver is None else solver
    names = " and ".join(f"`{name}`" for name in old)
    if solver is not None:
        raise InputError(f"`solver` and {names} exclude each other: pass `solver`.")
    given = {name: old[name] for name in of_solver if name in old}
    if old.get("factor"):
        chosen = [n for n in ("file", "recompute", "mesh") if given.get(n)]
        if chosen:
            raise InputError(
                f"`factor` and `{chosen[0]}` exclude each other: pass one of them."
            )
        found, spelt = Cholesky(), "theory.Cholesky()"
    else:
        found = ConjugateGradient(**given)
        fields = ", ".join(f"{name}={value!r}" for name, value in given.items())
        spelt = f"theory.ConjugateGradient({fields})"
    warnings.warn(
        f"{names} of exact_iterative will go: pass `solver={spelt}`.",
        DeprecationWarning,
        stacklevel=3,
    )
    return found


def _test_points(asked, problem: Problem) -> np.ndarray:
    asked, m = np.asarray(asked), len(problem.x_test)
    if ((asked < 0) | (asked >= m)).any():
        raise InputError(
            f"`init_var_at` must be test points 0 ... {m - 1}, got {asked}."
        )
    return asked


@renamed("noise", "corruption")
@checked
def exact_iterative(
    arch: Architecture,
    corruption: Corruption,
    problem: Problem,
    *,
    draws: int,
    key: Array,
    solver: Solver | None = None,
    ridge: float = 0.0,
    copies: int = 1,
    test_corruption: Corruption | None = None,
    first_draw: int = 0,
    refine: int = 0,
    init_var_at: Int[Array, " k"] | np.ndarray | None = None,
    audit_rows: int = 1000,
    progress: Report | None = None,
    **old: Any,
) -> Draws:
    """Computes the infinite-width prediction of each draw from half a kernel.

    The same numbers as `theory.exact`, for training to the end. Cost per draw, n
    training rows, m test points and k of them with `init_var`: n^2 d/2 for the kernel,
    n^2 (c + k) for each product at most, n m d for the outputs and n^2 (d/2 + k) for
    `init_var`. benchmarks/README.md counts products. Memory: as the solver says.

    Args:
        arch: the architecture.
        corruption: the corruption of the training images.
        problem: the data; its dtype is that of the kernel. In float32 the audited
            residual ends at 5e-6 (N = 6 000) to 2e-5 (60 000).
        draws: number of corruption draws.
        key: typed PRNG key, as in `theory.exact`.
        solver: `theory.ConjugateGradient(...)`, which None is, or `theory.Cholesky()`.
        ridge: added to the diagonal of the kernel, in its units.
        copies: as in `theory.exact`.
        test_corruption: as in `theory.exact`.
        first_draw: number of the first draw.
        refine: steps of iterative refinement: residuals of all rows in float64, with
            the kernel computed anew (n^2 d), and a solve for each. One takes the
            residual of a float32 kernel to 1e-10 at p = .9 and 1e-6 without corruption
            (MNIST, N = 4 000 and 8 000); outputs are float64 then.
        init_var_at: test points to compute `init_var` at; each is one more right-hand
            side, solved to ten times the `tolerance`: at the default an error of 1e-6
            of it in the rms on MNIST at p = .9 and .5, of 1e-4 without corruption,
            where it is 1e-3 at the worst of 200 points (N = 4 000, erf).
        audit_rows: training rows of the residual in float64.
        progress: called with (what is being done, how much is done, of how much); of
            conjugate gradients, whose end is not known, with `max_iterations`.
        old: fields of `ConjugateGradient`, and `factor` for `Cholesky`, as they were
            passed before there was `solver`; with a warning, for one version.

    Returns:
        Draws with outputs (draws, 1, n_test, c); `init_var` at the test points of
        `init_var_at`, None without. Diagnostics per draw: `residual` of the iteration,
        the largest of the classes (not with `Cholesky`); `audited_residual`, the same
        at `audit_rows` rows with the kernel recomputed in float64 (if x64 is on);
        `iterations`, with those of the first 256 points of `init_var_at`, which are
        made together; `init_var_residual`, the largest of its points (not with
        `Cholesky`); `truncation_error`; `output_error`, how far outputs may be off for
        the residual.

    Raises:
        InputError: bad arguments, or half a kernel larger than memory or disk.
        NumericalError: an indefinite kernel, no convergence, or a quadrature dual
            whose series is too short.
    """
    given = draw_loop.CorruptionDraws(
        corruption=corruption,
        problem=problem,
        key=key,
        draws=draws,
        first_draw=first_draw,
        copies=copies,
        test_corruption=test_corruption,
    )
    given.check(arch, ridge)
    check_count("refine", refine, least=0)
    check_count("audit_rows", audit_rows)
    solver = _solver_of(solver, old)
    solver.check()
    asked = None if init_var_at is None else _test_points(init_var_at, problem)

    def one(k):
        return _one_draw(
            arch,
            given.seen(k),
            ridge,
            solver,
            refine=refine,
            asked=asked,
            audit_rows=audit_rows,
            report=progress or (lambda what, done, of: None),
        )

    try:
        (outputs, init_var, diagnostics), keys = given.each(one)
    finally:
        solver.clean_up()
    return Draws(
        outputs=outputs,
        init_var=init_var,
        init_var_at=None if init_var is None else jnp.asarray(asked),
        draw_keys=keys,
        diagnostics=diagnostics,
        averaged=True,
    )
