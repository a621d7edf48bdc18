"""The exact infinite-width route: one kernel per corruption draw.

An infinitely wide network trained on the corrupted images by gradient descent on the
squared loss predicts, averaged over initialisations, f(x*) = Theta_* P Y, with
P = Theta^{-1} when trained to the end. One initialisation adds independent noise of
variance `init_var` to each output, docs/theory/training.md (8)-(11). Many training
times or ridges of the same draws: `theory.routes.exact.paths`.

References: Jacot et al. 2018, arXiv:1806.07572; Lee et al. 2019, arXiv:1902.06720.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array

from theory.corruption.base import Corruption
from theory.errors import InputError
from theory.kernels import matrices, truncation
from theory.kernels.architecture import Architecture
from theory.numerics import blocks, doors, solve
from theory.numerics.edges import matmul
from theory.numerics.signatures import checked
from theory.outputs.draws import Draws
from theory.problem import Problem
from theory.renamed import renamed
from theory.routes import of_width
from theory.routes.exact import draw_loop, finite_width


@functools.partial(jax.jit, static_argnames=("flow", "with_init_var"))
def _one_draw(arch, seen, ridge, time, *, flow, with_init_var):
    """Outputs (n_test, c), init_var (n_test,) or None, and diagnostics of one draw.

    Of the corrupted images `seen`: one program for all corruptions.
    """
    x, y = seen.x_train, seen.y
    both = matrices.gram(x, arch) if with_init_var else None
    ntk = matrices.ntk_gram(x, arch) if both is None else both.ntk
    smoother = solve.gradient_flow(ntk, time) if flow else solve.inverse(ntk, ridge)
    weights = smoother.apply(y)
    if both is None:
        outputs = matrices.ntk_product(seen.x_test, x, weights, arch)
        init_var = None
    else:
        nngp = both.nngp

        def predict(x_test):
            test = matrices.nngp_ntk(x_test, x, arch)
            # docs/theory/training.md (11), the rows of Theta_* P in the columns of
            # `smoothed`
            smoothed = smoother.apply(test.ntk.T)
            prior = matrices.nngp_ntk_diag(x_test, arch).nngp
            learned = matmul(nngp, smoothed) - 2 * test.nngp.T
            init_var = prior + (smoothed * learned).sum(axis=0)
            return matmul(test.ntk, weights), init_var

        outputs, init_var = blocks.map_rows(predict, seen.x_test, draw_loop.BLOCK)
    residual = matmul(ntk, weights) - y
    diagnostics = {
        "margin": smoother.margin,
        "train_mse": (residual**2).mean(),
        "truncation_error": truncation.worst_truncation(arch, seen),
    }
    return outputs, init_var, diagnostics


_finite = jax.jit(finite_width.one_draw, static_argnames="variances")


def _check_time(time: float | None, ridge: float) -> None:
    if time is not None and not time >= 0:
        raise InputError(f"`time` must not be negative, got {time}.")
    if time is not None and ridge:
        raise InputError("`ridge` and `time` exclude each other: pass one of them.")


def _believed(arch, x, outputs, diagnostics, *, flow, ridge, copies):
    """The outputs of a solve that can be trusted.

    Traced ones are NaN otherwise, as nobody can be told.

    Raises:
        NumericalError: where it cannot be trusted.
    """
    margin, error = jax.lax.stop_gradient(
        (diagnostics["margin"], diagnostics["truncation_error"])
    )
    if not doors.known(margin):
        good = solve.trusted(margin, len(x), x.dtype, flow=flow, entry_error=error)
        return jnp.where(good, outputs, jnp.nan)
    truncation.check_truncation(arch, float(error))
    solve.check(
        float(margin),
        x,
        flow=flow,
        ridge=ridge,
        copies=copies,
        entry_error=float(error),
    )
    return outputs


def _of_width(arch, seen, ridge, width, copies, variances):
    """Outputs, init_var, kernel_cov and diagnostics of one draw at finite width."""
    dtype = seen.x_train.dtype
    found, diagnostics = _finite(
        arch,
        seen,
        jnp.asarray(ridge, dtype),
        jnp.asarray(width, dtype),
        variances=variances,
    )
    mean = _believed(
        arch,
        seen.x_train,
        found.mean,
        diagnostics,
        flow=False,
        ridge=ridge,
        copies=copies,
    )
    of_width.check_residual(diagnostics["width_residual"], width)
    return mean[None], found.init_var, found.kernel_cov, diagnostics


@renamed("noise", "corruption")
@checked
def exact(
    arch: Architecture,
    corruption: Corruption,
    problem: Problem,
    *,
    draws: int,
    key: Array,
    ridge: float = 0.0,
    time: float | None = None,
    copies: int = 1,
    test_corruption: Corruption | None = None,
    first_draw: int = 0,
    with_init_var: bool = True,
    width: int | None = None,
    progress: draw_loop.Progress | None = None,
) -> Draws:
    """Computes the infinite-width prediction for each of several corruption draws.

    Cost per draw, n training rows (all copies) and m test points in d dimensions:
    n^2 (d + depth) for the kernel, n^3/3 multiply-adds for the solve, n m (d + depth)
    for the test rows and 2 n^2 m for `init_var`. Memory: four n x n matrices (six with
    `time`; one less without `init_var`), whatever m; where they do not fit, see
    `theory.exact_iterative`. n = 4000, d = 784, m = 8920, erf, depth 3: 14 s a draw on
    two cores, 3 s without `init_var`.

    Args:
        arch: the architecture.
        corruption: the corruption of the training images; its strength is traced.
        problem: the data, float64 unless the kernel is well conditioned.
        draws: number of corruption draws.
        key: typed PRNG key; draw k corrupts with (key, first_draw + k), the same
            images as every other route that is given this key.
        ridge: added to the diagonal of the kernel, in its units.
        time: gradient-flow time (loss and unit:
            `theory.numerics.solve.gradient_flow`) instead of training to the end. Costs
            an eigendecomposition.
        copies: corrupted copies of every training image, independent of each other,
            all of them trained on (`theory.corrupt_copies`). Memory and time
            grow as those of copies n_train images.
        test_corruption: corrupts the test images too, anew in every draw; None leaves
            them clean.
        first_draw: number of the first draw.
        with_init_var: whether to compute `init_var`, three quarters of the cost.
        width: units of every hidden layer: the law of networks of that width that stay
            near their start, gradient descent in the parametrisation of `arch`, with
            an error that grows with n/width; None for infinite width. n = 1500, m =
            500, depth 2 and 3: 10 and 13 times as long. See docs/theory/finite_width.md
            for what it was compared with, and `diagnostics["remainder"]`.
        progress: called with (draws done, draws) after each.

    Returns:
        Draws with outputs (draws, 1, n_test, c) and init_var (draws, n_test); with
        `width` also `kernel_cov`. `diagnostics["remainder"]` is then the share of
        `init_var` that is of order 1/width, and known to a third of itself: above
        .25 the law is out of its range. The
        `draw_keys` name the random numbers of the draws, not what is done with them:
        they do not depend on the corruptions or on `copies`.

    Raises:
        InputError: bad arguments, or a kernel larger than the memory.
        NumericalError: an indefinite or near-singular kernel, or a quadrature dual
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
    _check_time(time, ridge)
    of_width.check_width(width, time, arch, corruption, problem, ridge)
    by_layers = 0 if width is None else 4 * arch.depth
    given.check_memory(
        matrices=(4 if time is None else 6) - (not with_init_var) + by_layers
    )

    def one(k):
        seen, dtype = given.seen(k), problem.x_train.dtype
        if width is not None and arch.depth > 1:
            return _of_width(arch, seen, ridge, width, copies, with_init_var)
        outputs, init_var, diagnostics = _one_draw(
            arch,
            seen,
            jnp.asarray(ridge, dtype),
            jnp.asarray(0.0 if time is None else time, dtype),
            flow=time is not None,
            with_init_var=with_init_var,
        )
        outputs = _believed(
            arch,
            seen.x_train,
            outputs,
            diagnostics,
            flow=time is not None and time < math.inf,
            ridge=ridge,
            copies=copies,
        )
        return outputs[None], init_var, None, diagnostics

    (outputs, init_var, kernel_cov, diagnostics), keys = given.each(one, progress)
    return Draws(
        outputs=outputs,
        init_var=init_var,
        kernel_cov=kernel_cov,
        draw_keys=keys,
        diagnostics=diagnostics,
        averaged=True,
    )
