"""Whether the law of online learning may be trusted, and if not, why.

docs/theory/online.md, at its end.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from theory.linearised.landmarks import Landmarks
from theory.linearised.training_kernel import of_one_sign
from theory.routes.online.training import Trained

# Beyond these the law calls itself not valid.
_PER_EPOCH, _FEEDBACK, _PRODUCTS, _NORM_SPREAD, _MISSED = 1.0, 0.5, 0.3, 0.15, 0.1


def diagnose(solved: Trained, reduced: Landmarks) -> dict[str, Any]:
    """Returns what there is to say of the training images, `valid` and `doubts` too."""
    train, time = reduced.measured.train, float(solved.time)
    n, d = train.mean.shape
    rates = np.asarray(solved.flow.rates)
    unit = (float(solved.arch.w_var) / d) ** 2
    # products of two pixels of noise are features as well, of this rate
    var_k = unit * float((train.var.mean(axis=0) ** 2).sum())
    products = time * n * abs(float(reduced.measured.curved.ntk)) * var_k / d
    own = float(jnp.abs(reduced.measured.own.ntk - reduced.measured.diag.ntk).mean())
    missed = time * abs(float(reduced.unexplained)) * own
    found = {
        "level": reduced.level,
        "landmark_features": 0 if reduced.basis is None else reduced.basis.shape[1],
        "unexplained": float(reduced.unexplained),
        "per_epoch": _of_classes(solved) * time / float(solved.epochs),
        "feedback": float(solved.history.feedback),
        "products": products,
        "norm_spread": float((jnp.sqrt(train.q_var) / train.q).max()),
        "regular": bool(of_one_sign(reduced.measured.slope_k.ntk)),
    }
    doubts = tuple(
        text
        for bad, text in (
            (found["per_epoch"] > _PER_EPOCH, "classes are learned within an epoch"),
            (found["feedback"] > _FEEDBACK, "steps are too long for the noise"),
            (products > _PRODUCTS, "products of noise are learned"),
            (rates.min() * time < -_MISSED, "the mean kernel is indefinite"),
            (missed > _MISSED and reduced.level != "full", "landmarks leave too much"),
            (found["norm_spread"] > _NORM_SPREAD, "too few pixels"),
            (not found["regular"], "slopes of both signs"),
        )
        if bad
    )
    return found | {"valid": not doubts, "doubts": doubts}


def _of_classes(solved: Trained) -> float:
    """Rate at which classes are told apart: mean over modes, by their targets."""
    targets = np.asarray(solved.flow.targets)
    shares = ((targets - targets.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return float(np.asarray(solved.flow.rates) @ shares / shares.sum())


def judge(diagnostics: dict[str, Any], init_var: np.ndarray) -> dict[str, Any]:
    """Returns the diagnostics with what the test points add to them."""
    text = "`init_var` is negative at some test points"
    doubts = tuple(each for each in diagnostics["doubts"] if each != text)
    if (init_var < 0).any():
        doubts += (text,)
    return diagnostics | {"valid": not doubts, "doubts": doubts}
