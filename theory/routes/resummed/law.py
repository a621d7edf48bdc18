"""The resummed law: mean kernel exact, noise of the features kept to all orders.

Where `first_order` expands in eps = 1 - p and in the noise correlations of the training
images, this law linearises the kernel around its mean at the actual p, and solves the
regression with its noisy features by a deterministic equivalent. No constant is fitted,
and no kernel is drawn. docs/theory/linearised.md, docs/theory/regression.md,
docs/theory/one_network.md.
"""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.architectures.stack import Stack
from theory.corruption.base import Corruption
from theory.corruption.copies import check_test_corruption
from theory.errors import InputError
from theory.kernels.architecture import Architecture
from theory.kernels.truncation import check_law
from theory.linearised.landmarks import Landmarks, choose, measured_on
from theory.linearised.training_kernel import moments
from theory.numerics import doors
from theory.numerics.signatures import checked
from theory.outputs.law import OutputLaw
from theory.problem import Problem
from theory.records import record
from theory.regression import flow
from theory.renamed import renamed
from theory.routes import of_width
from theory.routes.checks import (
    check_inputs,
    check_pixels,
    check_tests,
    check_time,
)
from theory.routes.resummed import finite_width, one_draw, validity
from theory.routes.resummed.cross import ResummedCross
from theory.routes.resummed.own_noise import facing
from theory.routes.resummed.predictions import predict, tables_for
from theory.routes.resummed.solved import Setting, Solved, direction, solve_side


@record(kw_only=True, repr=False)
class ResummedLaw(OutputLaw):
    """The law, and the solved training that it and others like it are made of.

    Attributes:
        solved: what `resummed_at` and `surrogate` go on with; None in a law that was
            read from a file.
    """

    solved: Solved | None = None


@renamed("noise", "corruption")
@checked
def resummed(
    arch: Architecture | Stack,
    corruption: Corruption,
    problem: Problem,
    *,
    landmarks: int | None = None,
    copies: int = 1,
    test_corruption: Corruption | None = None,
    ridge: float = 0.0,
    time: float | None = None,
    with_init_var: bool = True,
    width: int | None = None,
) -> ResummedLaw:
    """Predicts the outputs at any corruption level; classes may be unbalanced.

    Cost, m = d + 2 + landmarks: 2 to 16 n m^2 multiply-adds where bases of rows are
    alike within a factor of 1.9, else 3 n m^2 for each of 6 to 9 Newton steps (60 where
    no fixed point is found, which `doubts` tells); 2 n m^2 more with `init_var`; and
    per test point 2 n m and 4 n d multiply-adds, and 4 n kernel entries unless they are
    interpolated (2e7 of them or more, clean points of like lengths: then in float32,
    and mean outputs move by up to .0003 of their spread at n_train = 60 000). Memory:
    nothing of size n x n below level full, and kernel rows of 256 test points at a
    time; MNIST at n_train = 60 000: 6.1 GB in float64, 3.5 in float32.

    Validity: to leading order in 1/d and 1/n; `diagnostics["valid"]` and `["doubts"]`
    say where the linearisation ends. Accuracies on MNIST are within .01 of the exact
    kernel's for all noises and activations tried at n_train = 2000 and 4000,
    docs/experiments/law_against_kernel.md; one exact kernel of all 60 000 (.7847 on
    1 500 test images, p = .9) is met by .7801. Where there are so few pixels that
    products of two of them are learned (n_train near d^2), the law fails unless the
    kernel is linear in them; it then says so.

    Args:
        arch: the architecture.
        corruption: the corruption of the training images; its strength is traced.
        problem: the data; float32 serves (digits: accuracies move by 2e-5).
        landmarks: training images through which what base and features leave of the
            mean kernel enters; 0 drops it, `n_train` is exact. None takes the fewest
            that the diagnostics call right.
        copies: independently corrupted copies of each training image.
        test_corruption: corruption of the test images; None leaves them clean.
        ridge: added to the diagonal of the kernel, in its units.
        time: gradient-flow time (loss and unit:
            `theory.numerics.solve.gradient_flow`) instead of training to the end. Some
            50 times the cost, training images must be corrupted and test images clean,
            and `init_var` is not known.
        with_init_var: whether to compute `init_var`, for which the solution is
            differentiated; without it `averaged` refuses.
        width: units of every hidden layer: the law of networks of that width that stay
            near their start, as `theory.exact(width=)` is; None for infinite width.
            Training images must be corrupted. Five times the cost at depth 3, and
            kernels of a thousand images: see docs/theory/finite_width.md.

    Returns:
        The law, with covariances between test points. `diagnostics`: `level` (diagonal,
        landmarks, full, noiseless), `landmark_features` used, `unexplained` share of an
        image's own entry that they leave, `residual` and `steps` of the solution,
        `margin` of the mean kernel (positive if it is definite), `linearisation_ratio`,
        `norm_spread`, `regular`, `tau`, `omega`, `valid` and `doubts`; `entry_error` of
        a few interpolated kernel entries, of what they vary by, 0 where none are; with
        `width` also `width_residual`, and `remainder`, the share of the variance of one
        initialisation that is of order 1/width. `kernel_cov` is known with `width`
        alone, covariances of single networks between test points without.

    Raises:
        InputError: bad arguments; a `Stack`.
        NumericalError: a kernel without noise that is singular.
    """
    if isinstance(arch, Stack):
        raise InputError("resummed knows no law of a Stack: use theory.first_order.")
    check_inputs(
        arch,
        corruption,
        problem,
        copies=copies,
        test_corruption=test_corruption,
        ridge=ridge,
    )
    n = len(problem.x_train)
    if landmarks is not None and not 0 <= landmarks <= n:
        raise InputError(
            f"`landmarks` must be between 0 and n_train = {n}, got {landmarks}."
        )
    check_time(time, ridge, test_corruption)
    of_width.check_width(width, time, arch, corruption, problem, ridge)
    check_law(arch, corruption, problem)
    if arch.depth == 1:
        width = None  # no hidden layer
    train = moments(problem.x_train, arch, corruption)
    ridge_value = jnp.asarray(ridge, problem.x_train.dtype)
    if not doors.known(train.var) and time is not None:
        raise InputError("`time` of resummed cannot be traced: leave jit and vmap.")
    # what is traced is taken to be noisy
    if not doors.known(train.var) or train.var.any():
        reduced = choose(arch, train, landmarks, ridge_value)
    elif time is not None or width is not None:
        name = "width" if time is None else "time"
        raise InputError(
            f"`{name}` needs corrupted training images on this route: without noise "
            "use theory.exact with one draw."
        )
    else:
        # copies coincide, docs/theory/training.md (D1)
        ridge_value, copies = ridge_value / copies, 1
        reduced = Landmarks("noiseless", measured_on(arch, train, n), None, 0.0)
    draw = None
    if width is not None:
        draw = one_draw.look(
            arch, corruption, problem, width=width, ridge=ridge, copies=copies
        )
        # in place of the kernels at infinite width, which are among them
        reduced = finite_width.by_hidden_layers(arch, reduced)
    setting = Setting(
        arch=arch,
        measured=reduced.measured,
        basis=reduced.basis,
        y=problem.y,
        ridge=ridge_value,
        copies=jnp.asarray(copies, ridge_value.dtype),
    )
    if draw is None:
        solved = _solved(
            setting,
            noiseless=reduced.level == "noiseless",
            time=time,
            with_init_var=with_init_var,
        )
    else:
        solved = _of_width(setting, draw, with_init_var=with_init_var)
    diagnostics = validity.diagnose(solved, reduced)
    return _at(solved, diagnostics, problem.x_test, test_corruption)


def _solved(setting: Setting, *, noiseless, time, with_init_var) -> Solved:
    """The regression, its derivative in s for `init_var`, or its training."""
    one, trained, directions = jnp.ones((), setting.y.dtype), None, ()
    centre = solve_side(setting, 0 * one, noiseless=noiseless)
    if with_init_var and time is None:
        directions = (direction(setting, centre, one, one),)
    if time is not None:
        trained = flow.train(centre.solution.rows, 1 / centre.scales.row**2, time)
    return Solved(
        arch=setting.arch,
        measured=setting.measured,
        centre=centre,
        directions=directions,
        flow=trained,
        copies=setting.copies,
    )


def _of_width(setting: Setting, draw, *, with_init_var) -> Solved:
    """The same at finite width, of kernels by layers."""
    centre, directions, shared = finite_width.share(setting, draw)
    return Solved(
        arch=setting.arch,
        measured=setting.measured,
        centre=centre,
        directions=directions if with_init_var else (),
        flow=None,
        copies=setting.copies,
        shared=shared,
    )


@checked
def resummed_at(
    law: OutputLaw,
    x_test: Float[Array, "n d"],
    test_corruption: Corruption | None = None,
) -> ResummedLaw:
    """Returns a law of `resummed` at other test points: nothing is solved again.

    Args:
        law: the law, averaged over networks or not; so is what is returned.
        x_test: inputs to predict at, in pixels as those of the training images.
        test_corruption: corruption of these; None leaves them clean.

    Raises:
        InputError: a law of another route; test points or a corruption that do not suit
            its training images.
    """
    solved = solved_training(law)
    check_pixels(x_test, solved.measured.train.mean.shape[1])
    check_test_corruption(test_corruption, x_test)
    check_tests(solved.flow is not None, test_corruption)
    found = _at(solved, law.diagnostics, x_test, test_corruption)
    return found if math.isinf(law.inits) else found.averaged(int(law.inits))


def solved_training(law: OutputLaw) -> Solved:
    """Returns the solved training that a law carries.

    Raises:
        InputError: a law of another route, or one that was read from a file.
    """
    if not isinstance(law, ResummedLaw) or law.solved is None:
        raise InputError(
            "`law` must be one that theory.resummed returned, as it returned it: the "
            "solved training that this needs is in no file, nor in laws of other "
            "routes. Call theory.resummed again."
        )
    return law.solved


def _at(
    solved: Solved,
    diagnostics: dict[str, Any],
    x_test: Float[Array, "n d"],
    test_corruption: Corruption | None,
) -> ResummedLaw:
    """The law at test points."""
    seen, own = facing(solved, x_test, test_corruption)
    tables = tables_for(solved, own, seen)
    mean, cov, init_var, kernel_cov = predict(solved, own, tables, seen)
    error = 0.0 if tables is None else float(tables.error)
    diagnostics = diagnostics | {"entry_error": error}
    cross = ResummedCross(solved=solved, own=own, x_test=seen)
    if solved.shared is not None and init_var is not None and kernel_cov is not None:
        remains = one_draw.remaining(
            solved.arch, solved.shared.draw, one_draw.seen(test_corruption, x_test)
        )
        init_var = init_var + remains
        total = init_var + jnp.trace(kernel_cov, axis1=1, axis2=2) / mean.shape[1]
        diagnostics = diagnostics | {
            "remainder": float(remains.mean() / total.mean()),
            "width_residual": float(solved.shared.residual),
        }
    return ResummedLaw(
        mean=mean,
        cov=cov,
        init_var=init_var,
        kernel_cov=kernel_cov,
        cross=cross,
        diagnostics=validity.judge(diagnostics, init_var),
        solved=solved,
    )
