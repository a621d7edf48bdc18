"""Finite training time and ridge: whole paths of the exact route at the price of one.

The loss is (1/2) sum_a sum_i (f_i(x_a) - y_ai)^2, with the 1/2, summed over training
rows and classes. Gradient flow on it has unit learning rate, so that `time` is learning
rate times steps, in units of the inverse kernel. Gradient descent at rate r on the mean
over points and classes without the 1/2 (`mse` of the networks) for k steps is at
time = 2 r k/(n c), n training rows, c classes. `train_mse` here is that mean.

One eigendecomposition Theta = V diag(lambda) V^T per corruption draw serves all times,
all ridges and all stopping rules (`theory.routes.exact.eigen_draw`),
docs/theory/training.md (D2)-(D5).

Reference: Lee et al. 2019, arXiv:1902.06720.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.corruption.base import Corruption
from theory.corruption.copies import corrupt_copies
from theory.errors import InputError, NumericalError
from theory.kernels import truncation
from theory.kernels.architecture import Architecture
from theory.numerics import solve
from theory.numerics.signatures import checked
from theory.outputs.training_path import TrainingPath
from theory.problem import Problem
from theory.renamed import renamed
from theory.routes.exact import draw_loop, eigen_draw

Grid = Sequence[float] | Float[Array, " step"] | Float[np.ndarray, " step"]


def _checked_grid(name: str, values: Grid, dtype, *, zero: bool, infinite: bool):
    """Returns the grid as an array of `dtype`, or raises `InputError`."""
    grid = np.asarray(values, float)
    if grid.ndim != 1 or not grid.size:
        raise InputError(
            f"`{name}` must be a sequence of numbers, got shape {grid.shape}."
        )
    for value in grid:
        low = value >= 0 if zero else value > 0
        if not (low and (infinite or value < math.inf)):
            finite = "" if infinite else "finite and "
            sign = "not negative" if zero else "positive"
            raise InputError(f"`{name}` must be {finite}{sign}, got {value}.")
    return jnp.asarray(grid, dtype)


def _check_found(arch, given, k, found, asked, rule) -> None:
    """Raises `NumericalError` where the numbers of draw k mean nothing."""
    x = given.problem.x_train
    lost = ~np.asarray(found["reached"])
    if lost.any():
        raise NumericalError(
            f"`train_mse` {float(asked[lost.argmax()]):.3g} is out of reach: the "
            f"kernel is singular within rounding in {x.dtype}; ask for more."
        )
    diagnostics = found["diagnostics"]
    margin, largest = float(diagnostics["margin"]), float(found["largest"])
    error = float(diagnostics["truncation_error"])
    truncation.check_truncation(arch, error)
    ridge = float(asked.min()) if rule == "ridge" else 0.0
    last = 0.0 if rule == "ridge" else float(found["grid"].max())
    # A zero eigenvalue that rounding made negative must not grow by e^{-value t}.
    steady = last == 0 or (last < math.inf and -margin * largest * last < 1e-6)
    solve.check(
        (margin + ridge / largest) / (1 + ridge / largest),
        corrupt_copies(given.corruption, given.key, k, x, given.copies),
        flow=rule != "ridge" and steady,
        ridge=ridge,
        copies=given.copies,
        entry_error=error,
    )


def _path(
    arch: Architecture,
    given: draw_loop.CorruptionDraws,
    grid: Array,
    *,
    rule: str,
    inits: int | float,
    with_init_var: bool,
    progress: draw_loop.Progress | None,
) -> TrainingPath:
    given.check(arch)
    given.check_memory(matrices=6)

    def one(k):
        found = eigen_draw.one_draw(
            arch,
            given.corruption,
            given.test_corruption,
            given.problem,
            given.key,
            k,
            grid,
            jnp.asarray(inits, given.problem.x_train.dtype),
            rule=rule,
            copies=given.copies,
            with_init_var=with_init_var,
        )
        _check_found(arch, given, k, found, grid, rule)
        del found["largest"], found["reached"]
        return found

    fields, keys = given.each(one, progress)
    return TrainingPath(draw_keys=keys, **fields)


@renamed("noise", "corruption")
@checked(infinite=("times",))
def trajectory(
    arch: Architecture,
    corruption: Corruption,
    problem: Problem,
    *,
    times: Grid | None = None,
    train_mse: Grid | None = None,
    inits: int | None = None,
    draws: int,
    key: Array,
    copies: int = 1,
    test_corruption: Corruption | None = None,
    first_draw: int = 0,
    with_init_var: bool = True,
    progress: draw_loop.Progress | None = None,
) -> TrainingPath:
    """Follows the infinitely wide network through training, draw by draw.

    Cost per draw, n training rows (all copies), m test points, k times: about 10 n^3
    for the eigendecomposition, 2 n^3 for its kernel at the start, 2 n^2 m for the test
    rows and k n^2 m for `init_var`; outputs alone cost next to nothing per time.
    Memory: six n x n matrices. n = 4000, m = 10 000, erf, depth 3, 20 times: 22 s of
    processor time without `init_var`, 106 s with it.

    Args:
        arch: the architecture.
        corruption: the corruption of the training images; its strength is traced.
        problem: the data.
        times: gradient-flow times, unit above; 0 and infinity are allowed.
        train_mse: instead of `times`, stopping rules: in every draw, the time at which
            the expected train MSE has come down to each of these; 0 where it starts
            below.
        inits: of the network that is stopped, the mean of how many initialisations;
            1 for the `stop_loss` of single networks, None for infinitely many.
        draws: as in `theory.exact`, like all that follow.
        key: typed PRNG key.
        copies: corrupted copies of every training image.
        test_corruption: corrupts the test images, None leaves them clean.
        first_draw: number of the first draw.
        with_init_var: whether to compute `init_var`.
        progress: called with (draws done, draws) after each.

    Raises:
        InputError: bad arguments, or a kernel larger than the memory.
        NumericalError: an indefinite kernel, a near-singular one at infinite time or
            on the way to a tiny `train_mse`, or a quadrature dual whose series is too
            short.
    """
    problem.check()
    if (times is None) == (train_mse is None):
        raise InputError("pass one of `times` and `train_mse`.")
    if inits is not None and (times is not None or not inits >= 1):
        raise InputError(
            f"`inits` must be at least 1 and go with `train_mse`, got {inits}."
        )
    dtype = problem.x_train.dtype
    if times is not None:
        grid = _checked_grid("times", times, dtype, zero=True, infinite=True)
    else:
        assert train_mse is not None
        grid = _checked_grid("train_mse", train_mse, dtype, zero=False, infinite=False)
    given = draw_loop.CorruptionDraws(
        corruption=corruption,
        problem=problem,
        key=key,
        draws=draws,
        first_draw=first_draw,
        copies=copies,
        test_corruption=test_corruption,
    )
    return _path(
        arch,
        given,
        grid,
        rule="time" if times is not None else "train_mse",
        inits=math.inf if inits is None else inits,
        with_init_var=with_init_var,
        progress=progress,
    )


@renamed("noise", "corruption")
@checked
def ridge_path(
    arch: Architecture,
    corruption: Corruption,
    problem: Problem,
    *,
    ridges: Grid,
    draws: int,
    key: Array,
    copies: int = 1,
    test_corruption: Corruption | None = None,
    first_draw: int = 0,
    with_init_var: bool = True,
    progress: draw_loop.Progress | None = None,
) -> TrainingPath:
    """Computes the prediction with every ridge, trained to the end, draw by draw.

    Cost and memory as `trajectory`. A single ridge is cheaper by `theory.exact`.

    Args:
        arch: the architecture.
        corruption: the corruption of the training images; its strength is traced.
        problem: the data.
        ridges: each added to the diagonal of the kernel, in its units; 0 is allowed if
            the kernel is well conditioned.
        draws: as in `theory.exact`, like all that follow.
        key: typed PRNG key.
        copies: corrupted copies of every training image.
        test_corruption: corrupts the test images, None leaves them clean.
        first_draw: number of the first draw.
        with_init_var: whether to compute `init_var`.
        progress: called with (draws done, draws) after each.

    Raises:
        InputError: bad arguments, or a kernel larger than the memory.
        NumericalError: a kernel that is indefinite or near singular with the smallest
            ridge, or a quadrature dual whose series is too short.
    """
    problem.check()
    dtype = problem.x_train.dtype
    given = draw_loop.CorruptionDraws(
        corruption=corruption,
        problem=problem,
        key=key,
        draws=draws,
        first_draw=first_draw,
        copies=copies,
        test_corruption=test_corruption,
    )
    return _path(
        arch,
        given,
        _checked_grid("ridges", ridges, dtype, zero=True, infinite=False),
        rule="ridge",
        inits=math.inf,
        with_init_var=with_init_var,
        progress=progress,
    )
