"""Draws of the linearised kernel: what the resummed law averages, sampled.

The kernel of a corruption draw, to the order that `theory.resummed` keeps, is base +
Phi W Phi^T with the features of the corrupted images themselves, solved in their space.
Two uses: a check of the deterministic equivalent, which must give the mean of many such
draws, and a control variate: on common draws it follows the exact kernel closely.

Equations: docs/theory/linearised.md (L5)-(L7).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.corruption.base import Corruption
from theory.corruption.copies import corrupt
from theory.errors import InputError, check_count
from theory.keys import draw_key
from theory.linearised.features import Scales
from theory.linearised.training_kernel import TrainingKernel
from theory.numerics import blocks, doors, memory
from theory.numerics.edges import matmul
from theory.numerics.signatures import checked
from theory.outputs.draws import Draws
from theory.outputs.law import OutputLaw
from theory.problem import Problem
from theory.regression.equivalent import Rows
from theory.renamed import renamed
from theory.routes.checks import check_inputs
from theory.routes.resummed.law import solved_training
from theory.routes.resummed.point_rows import rows_at
from theory.routes.resummed.solved import Solved

_BLOCK = 256


def row_noise(
    arch, measured: TrainingKernel, scales: Scales, x: Float[Array, "n d"]
) -> Float[Array, "n m"]:
    """Returns the noise of the features of corrupted images `x`, (L5)."""
    train = measured.train
    q = arch.b_var + arch.w_var * (x**2).mean(axis=1)
    pixels, of_q = x - train.mean, q - train.q
    tilt = measured.tilt
    scale = tilt.by_q * of_q
    scale += tilt.by_k * arch.w_var * (pixels * tilt.centre).mean(axis=1)
    noise = jnp.concatenate([pixels, of_q[:, None], -scale[:, None]], axis=1)
    # rows are divided by sqrt(r_a), so that the noise of all is alike
    return noise * (scales.slope / scales.row)[:, None]


def _dual_weights(rows: Rows, noise: Float[Array, "n m"]) -> Float[Array, "n c"]:
    """(base + Phi W Phi^T)^{-1} y in the space of the features."""
    features = rows.mean.at[:, : noise.shape[1]].add(noise)
    weighted = features / rows.base[:, None]
    system = jnp.eye(features.shape[1], dtype=features.dtype) + matmul(
        matmul(features.T, weighted), rows.weight
    )
    inside = jnp.linalg.solve(system, matmul(weighted.T, rows.y))
    return (rows.y - matmul(features, matmul(rows.weight, inside))) / rows.base[:, None]


@jax.jit
def _one_draw(solved: Solved, corruption, x_train, g, w, key, draw):
    centre = solved.centre
    x = corrupt(corruption, key, draw, x_train)
    moved = row_noise(solved.arch, solved.measured, centre.scales, x)
    dual = _dual_weights(centre.solution.rows, moved)
    return matmul(g, dual) + matmul(w[:, : moved.shape[1]], matmul(moved.T, dual))


@jax.jit
def _test_rows(solved: Solved, x_test):
    return blocks.map_rows(lambda x: rows_at(solved, x, solved.centre), x_test, _BLOCK)


def _check_of_law(solved: Solved, corruption: Corruption, problem: Problem) -> None:
    """Raises `InputError` unless these are what the law was solved for, where known."""
    train = solved.measured.train
    if problem.x_train.shape != train.mean.shape:
        raise InputError(
            f"`problem` must be that of the law, training images {train.mean.shape}, "
            f"got {problem.x_train.shape}."
        )
    if problem.num_classes != solved.centre.solution.y_rows.shape[1]:
        raise InputError(
            f"`problem` must be that of the law, of "
            f"{solved.centre.solution.y_rows.shape[1]} classes, got "
            f"{problem.num_classes}."
        )
    if not doors.known(corruption, problem, train.mean):
        return
    seen = corruption.moments(problem.x_train)
    # two programs of the same moments: some roundings
    close = 100 * jnp.finfo(train.mean.dtype).eps * jnp.abs(train.var).max() ** 0.5
    if not bool((jnp.abs(seen.mean - train.mean) <= close).all()):
        raise InputError(
            "`corruption` and `problem` must be those of the law, got other moments of "
            "the training images: call theory.resummed for these."
        )


@renamed("noise", "corruption")
@checked
def surrogate(
    law: OutputLaw,
    corruption: Corruption,
    problem: Problem,
    *,
    draws: int,
    key: Array,
    first_draw: int = 0,
) -> Draws:
    """Computes the predictions of the linearised kernel for single corruption draws.

    Cost: n n_test numbers of memory; per draw n m^2 multiply-adds and an m x m solve,
    m features.

    Args:
        law: what `theory.resummed` returned for `corruption` and `problem`.
        corruption: the corruption.
        problem: the data.
        draws: number of draws.
        key: typed PRNG key; draw k is that of every other route.
        first_draw: number of the first draw.

    Returns:
        Draws with outputs (draws, 1, n_test, c).

    Raises:
        InputError: for a law of another route, of several copies, of corrupted test
            images or of training images without noise.
    """
    solved = solved_training(law)
    check_inputs(solved.arch, corruption, problem, draws=draws)
    check_count("first_draw", first_draw, least=0)
    law.check_finite()
    _check_of_law(solved, corruption, problem)
    own = getattr(law.cross, "own", None)
    if float(solved.copies) != 1 or own is not None:
        raise InputError("surrogate needs a law of one copy and clean test images.")
    if solved.flow is not None:
        raise InputError("surrogate needs a law trained to the end: drop `time`.")
    if solved.centre.rotation is not None:
        raise InputError("a law without noise has nothing to draw: use its mean.")
    memory.check_memory(
        problem.x_train.shape[0]
        * problem.x_test.shape[0]
        * problem.x_train.dtype.itemsize,
        "the kernel rows of all test points",
        "use fewer test points",
    )
    g, w = _test_rows(solved, problem.x_test)
    outputs, keys = [], []
    for draw in range(first_draw, first_draw + draws):
        outputs.append(_one_draw(solved, corruption, problem.x_train, g, w, key, draw))
        keys.append(jax.random.key_data(draw_key(key, draw)))
    return Draws(
        outputs=jnp.stack(outputs)[:, None], draw_keys=jnp.stack(keys), averaged=True
    )
