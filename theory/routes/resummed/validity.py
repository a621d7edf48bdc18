"""Whether the resummed law may be trusted, and if not, why: its diagnostics.

docs/theory/linearised.md, at its end.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.linearised import linearise
from theory.linearised.landmarks import UNEXPLAINED, Landmarks
from theory.numerics import doors
from theory.regression import determinant
from theory.routes.of_width import LARGEST_REMAINDER, NARROW
from theory.routes.resummed.solved import Solved

# Beyond these the law calls itself not valid. The margin is .99999 on MNIST at n_train
# = 4000, .9986 at 60 000, and .97 to .36 where relu or gelu have ten images per pixel
# or more; some of these predictions are wrong.
_MARGIN = 0.95
_RESIDUAL, _RATIO, _NORM_SPREAD = 1e6, 0.1, 0.15  # residual in roundings

_NEGATIVE = "`init_var` is negative at some test points"


def diagnose(solved: Solved, reduced: Landmarks) -> dict[str, Any]:
    """Returns what there is to say of the training images, `valid` and `doubts` too.

    Of traced ones the numbers alone, as nothing can be said in words.
    """
    solved = jax.lax.stop_gradient(solved)
    if not doors.known(solved.centre.solution.tau):
        return _traced(solved, reduced)
    solution = solved.centre.solution
    found: dict[str, Any] = {
        "level": reduced.level,
        "landmark_features": 0 if reduced.basis is None else reduced.basis.shape[1],
        "residual": float(
            max(
                each.residual
                for each in (
                    solved.centre.solution,
                    *(solved.flow.solutions if solved.flow else ()),
                )
            )
        ),
        "steps": int(solution.steps),
        "unexplained": float(reduced.unexplained),
        "margin": float(determinant.margin(solution)),
        "tau": float(solution.tau),
        "omega": float(solution.omega),
    }
    measured = linearise.diagnose(
        solved.arch, solved.measured, solution.rows, solution.omega
    )
    found |= {name: value.item() for name, value in measured.items()}
    eps = float(jnp.finfo(solved.copies.dtype).eps)
    doubts = tuple(
        text
        for bad, text in (
            (
                not found["residual"] <= _RESIDUAL * eps,
                "the fixed point was not reached",
            ),
            (
                not found["margin"] > _MARGIN,
                "the mean kernel is nearly indefinite: too many images",
            ),
            (
                found["unexplained"] > UNEXPLAINED and reduced.level != "full",
                "landmarks leave too much",
            ),
            (
                found["linearisation_ratio"] > _RATIO,
                "the kernel is not linear in the noise",
            ),
            (found["norm_spread"] > _NORM_SPREAD, "too few pixels"),
            (not found["regular"], "slopes of both signs"),
        )
        if bad and reduced.level != "noiseless"
    )
    return found | {"valid": not doubts, "doubts": doubts}


def _traced(solved: Solved, reduced: Landmarks) -> dict[str, Any]:
    solution = solved.centre.solution
    found = {
        "residual": solution.residual,
        "steps": solution.steps,
        "unexplained": reduced.unexplained,
        "margin": determinant.margin(solution),
        "tau": solution.tau,
        "omega": solution.omega,
    }
    return found | linearise.diagnose(
        solved.arch, solved.measured, solution.rows, solution.omega
    )


def judge(diagnostics: dict[str, Any], init_var: Float[Array, " n"] | None) -> dict:
    """Returns the diagnostics with what the test points add to them."""
    if "doubts" not in diagnostics:  # of what is traced
        return diagnostics
    own = (_NEGATIVE, NARROW)
    doubts = tuple(text for text in diagnostics["doubts"] if text not in own)
    known = init_var is not None and doors.known(init_var)
    negative = known and bool((init_var < 0).any())
    if diagnostics["level"] != "noiseless" and negative:
        doubts += (_NEGATIVE,)
    if not diagnostics.get("remainder", 0.0) <= LARGEST_REMAINDER:
        doubts += (NARROW,)
    return diagnostics | {"valid": not doubts, "doubts": doubts}
