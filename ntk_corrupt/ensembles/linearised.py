"""Ensembles of networks that stay at their tangent: the same members, solved.

Member (draw, initialisation) starts from the parameters that `ensembles.measure` starts
it from, and sees the same corrupted images. What differs from `theory.exact` is the
width, from `ensembles.measure` that the kernel does not move and training ends.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from ntk_corrupt.ensembles import ensemble, programs
from ntk_corrupt.ensembles.ensemble import Progress
from ntk_corrupt.kernels import linearised
from ntk_corrupt.probes.basic import Parameters
from ntk_corrupt.training.config import TrainConfig
from theory.corruption.base import Corruption
from theory.corruption.copies import check_options, corrupt_problem
from theory.errors import check_count
from theory.kernels.architecture import Architecture
from theory.keys import draw_key
from theory.numerics.signatures import checked
from theory.outputs.draws import Draws
from theory.problem import Problem


@checked
def measure_linearised(
    arch: Architecture | nn.Module,
    corruption: Corruption,
    problem: Problem,
    *,
    width: int | None = None,
    draws: int,
    inits: int,
    key: Array,
    parametrisation: str = "ntk",
    copies: int = 1,
    test_corruption: Corruption | None = None,
    first_draw: int = 0,
    ridge: float = 0.0,
    trained: TrainConfig | None = None,
    progress: Progress | None = None,
) -> Draws:
    """Solves `draws` x `inits` networks with the tangent kernel at their start.

    One after the other: each has a kernel of its own, (n c)^2 numbers, see
    `ntk_corrupt.kernels.linearised.regress`. In the dtype of the problem.

    Args:
        arch: as in `ntk_corrupt.ensembles.measure`; a module of `models.Layer`.
        corruption: as there.
        problem: as there; float64 unless the kernel is well conditioned.
        width: as there.
        draws: as there.
        inits: as there.
        key: as there: the same members.
        parametrisation: "ntk" or "standard", which decides how fast layers learn.
        copies: as there.
        test_corruption: as there.
        first_draw: as there.
        ridge: added to the diagonal of the kernel, in its units.
        trained: how to train every network first; its kernel is then that after
            training, its start the same. Training is that of `ensembles.measure`.
        progress: called with (members done, of how many, NaN) after each.

    Returns:
        `Draws` with outputs (draws, inits, n_test, c).

    Raises:
        InputError: for arguments that make no sense.
        NumericalError: where a kernel is too near singular for its dtype.
    """
    problem.check()
    check_options(corruption, problem, copies=copies, test_corruption=test_corruption)
    for name, value in (("draws", draws), ("inits", inits)):
        check_count(name, value)
    check_count("first_draw", first_draw, least=0)
    d = problem.x_train.shape[1]
    model = ensemble.model_of(
        arch, width, problem.num_classes, d, parametrisation=parametrisation
    )
    results, numbers = [], range(first_draw, first_draw + draws)
    ends = None
    if trained is not None:
        nets = ensemble.measure(
            model,
            corruption,
            problem,
            draws=draws,
            inits=inits,
            key=key,
            config=trained,
            copies=copies,
            test_corruption=test_corruption,
            first_draw=first_draw,
            probes=(Parameters(),),
        )
        ends = nets.diagnostics["parameters"].reshape(draws * inits, -1)
    for draw in numbers:
        seen = corrupt_problem(
            corruption,
            problem,
            key,
            draw,
            copies=copies,
            test_corruption=test_corruption,
        )
        for init in range(inits):
            params = programs.initial(model, key, jnp.asarray([draw, init]), d)
            at = None if ends is None else ravel_pytree(params)[1](ends[len(results)])
            results.append(
                linearised.regress(
                    model, params, seen.x_train, seen.y, seen.x_test, at=at, ridge=ridge
                )
            )
            if progress is not None:
                progress(len(results), draws * inits, float("nan"))
    outputs = jnp.stack(results).reshape(draws, inits, *results[0].shape)
    keys = [jax.random.key_data(draw_key(key, draw)) for draw in numbers]
    return Draws(outputs=outputs, draw_keys=jnp.stack(keys))
