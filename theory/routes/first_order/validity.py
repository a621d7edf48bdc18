"""Where the class-mean law predicts the accuracy, and if not, why: its diagnostics.

docs/theory/first_order.md, at its end: two small parameters, of the images and of the
noise, calibrated against exact kernels.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.numerics import doors
from theory.numerics.edges import matmul, ratio
from theory.problem import Problem
from theory.routes.first_order.trained import Trained

# Up to these its accuracy was seen within .02 of that of exact kernels:
# docs/theory/first_order.md has the runs, and how often it was not.
_IMAGES, _CROWDING = 0.5, 0.2

MORE_THAN_MEANS = "images tell more than their class means: p too small"
CROWDED = "too many images for so few pixels"


def small_parameters(
    trained: Trained,
    problem: Problem,
    x_test: Float[Array, "n d"],
    copies: Float[Array, ""],
    *,
    isotropic: bool,
) -> dict[str, Array]:
    """Returns `images` and `crowding`, (F13) and (F14). O(n_train d c), traced.

    Args:
        trained: the class-mean rule.
        problem: the data.
        x_test: test points, or their means.
        copies: of every training image.
        isotropic: whether the law keeps the eigenvalues of the noise.
    """
    x, d = problem.x_train, problem.x_train.shape[1]
    slope = trained.pure.slope_k * trained.arch.w_var / trained.kap
    answer = matmul(x, trained.x_c.T) / d
    common = copies * trained.pure.theta_o * trained.psi / trained.n
    answer = answer - common * answer.sum(axis=0, keepdims=True)
    again = trained.eps**2 * slope * copies * matmul(answer.T, x)
    first, second = (
        scores - scores.mean(axis=1, keepdims=True)
        for scores in (matmul(x_test, rows.T) for rows in (trained.x_c, again))
    )
    images = ratio((first * second).sum(), (first**2).sum())
    crowding = trained.n / d * (slope * trained.var) ** 2
    return {
        "images": images,
        "crowding": jnp.zeros_like(crowding) if isotropic else crowding,
    }


def judged(diagnostics: dict[str, Any]) -> dict[str, Any]:
    """Returns the diagnostics with `valid` and `doubts`, where numbers are known."""
    images, crowding = (diagnostics[name] for name in ("images", "crowding"))
    if not doors.known(images, crowding):
        return diagnostics
    doubts = tuple(
        text
        for bad, text in (
            (not images <= _IMAGES, MORE_THAN_MEANS),
            (not crowding <= _CROWDING, CROWDED),
        )
        if bad
    )
    return diagnostics | {"valid": not doubts, "doubts": doubts}
