"""The law of networks that see every corrupted image once, in closed form.

Where `resummed` has a training set that is corrupted once, or in a number of copies,
and learns it by heart, here every epoch corrupts anew, and time is what limits what is
learned. No constant is fitted, and no kernel is drawn. docs/theory/online.md.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.corruption.base import Corruption
from theory.corruption.copies import check_test_corruption
from theory.errors import InputError
from theory.kernels.architecture import Architecture
from theory.kernels.truncation import check_law
from theory.linearised.landmarks import choose
from theory.linearised.training_kernel import moments
from theory.numerics import doors
from theory.numerics.signatures import checked
from theory.outputs.law import OutputLaw
from theory.problem import Problem
from theory.records import record
from theory.routes.checks import check_inputs, check_pixels
from theory.routes.online import validity
from theory.routes.online.predictions import OnlineCross, point_noise, predict
from theory.routes.online.training import Trained, train


@record(kw_only=True, repr=False)
class OnlineLaw(OutputLaw):
    """The law, and the training that it and others like it are made of.

    Attributes:
        solved: what `online_at` goes on with; None in a law that was read from a file.
    """

    solved: Trained | None = None


@checked
def online(
    arch: Architecture,
    corruption: Corruption,
    problem: Problem,
    *,
    time: float,
    epochs: int | float = math.inf,
    test_corruption: Corruption | None = None,
    landmarks: int | None = None,
) -> OnlineLaw:
    """Predicts the outputs of networks that see each corrupted copy of an image once.

    Online learning, or single-pass stochastic gradient descent: every epoch visits all
    images under corruption of its own. Many small steps against the squared loss are a
    flow of the mean, here solved mode by mode, and diffusion about it.

    Cost, m = d + 2 + landmarks: 5 n m^2 + 20 m^3 multiply-adds, 72 n m c for residuals,
    and per test point 150 m^2 and its entries with landmarks. Memory: 5 n m and 20 m^2
    numbers.

    Validity: to leading order in 1/d, in 1/`epochs` and in what is learned in one
    epoch; `diagnostics["valid"]` and `["doubts"]` say where that ends.

    Args:
        arch: the architecture; of `theory.adam_rates` where layers are trained by Adam.
        corruption: the corruption of the training images; its strength is traced.
        problem: the data; float32 serves (digits: accuracies move by up to 7e-4).
        time: gradient-flow time, positive and finite, as in `theory.exact(time=)` for
            one copy of every image: k steps at rate r are 2 r k/(n c),
            docs/theory/training.md (D5).
        epochs: how often every image is seen, each time with noise of its own; infinite
            for the flow alone, without the noise of stochastic gradients.
        test_corruption: corruption of the test images; None leaves them clean.
        landmarks: as in `theory.resummed`.

    Returns:
        The law, with covariances between test points; a draw is all corruption that is
        seen. `init_var` has the stochastic gradients of the start too. `diagnostics`:
        `level`, `landmark_features` and `unexplained` as in `theory.resummed`;
        `per_epoch`, an epoch times the rate at which classes are told apart;
        `feedback`, what of the square of a residual later ones have as fluctuations;
        `products`, all of the time times the rate of products of two pixels of noise;
        `norm_spread`, `regular`, `valid` and `doubts`.

    Raises:
        InputError: bad arguments; traced images.
    """
    check_inputs(arch, corruption, problem, test_corruption=test_corruption)
    if not 0 < time < math.inf:
        raise InputError(f"`time` must be positive and finite, got {time}.")
    if not epochs >= 1:
        raise InputError(f"`epochs` must be at least 1, got {epochs}.")
    n, dtype = len(problem.x_train), problem.x_train.dtype
    if landmarks is not None and not 0 <= landmarks <= n:
        raise InputError(
            f"`landmarks` must be between 0 and n_train = {n}, got {landmarks}."
        )
    check_law(arch, corruption, problem)
    seen = moments(problem.x_train, arch, corruption)
    if not doors.known(arch, seen):
        raise InputError("theory.online cannot be traced: leave jit and vmap.")
    if not seen.var.any():
        raise InputError(
            "online learning needs corrupted training images: without noise use "
            "theory.exact with one draw and `time`."
        )
    reduced = choose(arch, seen, landmarks, jnp.zeros((), dtype))
    solved = train(
        arch,
        (reduced.measured, reduced.basis),
        problem.y,
        jnp.asarray(time, dtype),
        jnp.asarray(epochs, dtype),
    )
    diagnostics = validity.diagnose(solved, reduced)
    return _at(solved, diagnostics, problem.x_test, test_corruption)


@checked
def online_at(
    law: OutputLaw,
    x_test: Float[Array, "n d"],
    test_corruption: Corruption | None = None,
) -> OnlineLaw:
    """Returns a law of `online` at other test points: nothing is trained again.

    Args:
        law: the law, averaged over networks or not; so is what is returned.
        x_test: inputs to predict at, in pixels as those of the training images.
        test_corruption: corruption of these; None leaves them clean.

    Raises:
        InputError: a law of another route; test points or a corruption that do not suit
            its training images.
    """
    if not isinstance(law, OnlineLaw) or law.solved is None:
        raise InputError(
            "`law` must be one that theory.online returned, as it returned it: the "
            "training that this needs is in no file, nor in laws of other routes. Call "
            "theory.online again."
        )
    check_pixels(x_test, law.solved.measured.train.mean.shape[1])
    check_test_corruption(test_corruption, x_test)
    found = _at(law.solved, law.diagnostics, x_test, test_corruption)
    return found if math.isinf(law.inits) else found.averaged(int(law.inits))


def _at(
    solved: Trained,
    diagnostics: dict[str, Any],
    x_test: Float[Array, "n d"],
    test_corruption: Corruption | None,
) -> OnlineLaw:
    """The law at test points."""
    own, seen = None, x_test
    if test_corruption is not None:
        test = moments(x_test, solved.arch, test_corruption)
        if test.var.any():
            own = point_noise(solved, test_corruption, test)
        else:
            seen = test.mean
    mean, cov, init_var = predict(solved, own, seen)
    return OnlineLaw(
        mean=mean,
        cov=cov,
        init_var=init_var,
        cross=OnlineCross(trained=solved, own=own, x_test=seen),
        diagnostics=validity.judge(diagnostics, np.asarray(init_var)),
        solved=solved,
    )
