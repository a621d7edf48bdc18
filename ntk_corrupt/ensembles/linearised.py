"""Ensembles of networks that stay at their tangent: the same members, solved.

Member (draw, initialisation) starts from the parameters that `ensembles.measure` starts
it from, and sees the same corrupted images. What differs from `theory.exact` is the
width, from `ensembles.measure` that the kernel does not move and training ends.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from ntk_corrupt.ensembles import ensemble, programs
from ntk_corrupt.ensembles.ensemble import Progress
from ntk_corrupt.kernels import linearised
from ntk_corrupt.networks import mlp
from ntk_corrupt.probes.basic import Parameters
from ntk_corrupt.training.config import TrainConfig
from theory.corruption.base import Corruption
from theory.corruption.copies import check_options, corrupt_problem
from theory.errors import InputError, check_count
from theory.kernels.adam import adam_rates
from theory.kernels.architecture import Architecture
from theory.keys import draw_key
from theory.numerics.signatures import checked
from theory.outputs.draws import Draws
from theory.problem import Problem


def _adam(model: Any, seen: Problem, batch_size: int) -> PyTree:
    """Factors of the parameters' rates under Adam, on these images."""
    if not isinstance(model, mlp.MLP) or model.parametrisation != "standard":
        raise InputError(
            "`adam_batch` must be None but for networks of `models.mlp` in standard "
            "parametrisation."
        )
    widths = (seen.x_train.shape[1], *[model.width] * (model.depth - 1))
    arch = Architecture(
        depth=model.depth,
        activation=model.activation,
        w_var=model.w_var,
        b_var=model.b_var,
    )
    found = adam_rates(
        *(arch, widths, seen.x_train, seen.y),
        batch_size=batch_size,
        biases=model.biases,
    )
    assert found.w_rates is not None
    assert found.b_rates is not None
    # of the kernel's layers they are times fan_in/w_var; one scale is no matter
    weights = [
        float(a) * model.w_var / fan_in
        for a, fan_in in zip(found.w_rates, widths, strict=True)
    ]
    return {
        "params": {
            f"layer_{at + 1}": {"kernel": weights[at] / weights[0]}
            | ({"bias": float(b) / weights[0]} if model.biases else {})
            for at, b in enumerate(found.b_rates)
        }
    }


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
    adam_batch: int | None = None,
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
        adam_batch: points per step of Adam, whose rates the layers then have in the
            kernel: `theory.adam_rates`, of networks `ntk_corrupt.models.mlp` in
            standard parametrisation. None is gradient descent.
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
    images: dict[str, Any] = {"copies": copies, "test_corruption": test_corruption}
    ends = None
    if trained is not None:
        nets = ensemble.measure(
            *(model, corruption, problem),
            draws=draws,
            inits=inits,
            key=key,
            config=trained,
            first_draw=first_draw,
            probes=(Parameters(),),
            **images,
        )
        ends = nets.diagnostics["parameters"].reshape(draws * inits, -1)
    for draw in numbers:
        seen = corrupt_problem(corruption, problem, key, draw, **images)
        rates = None if adam_batch is None else _adam(model, seen, adam_batch)
        for init in range(inits):
            params = programs.initial(model, key, jnp.asarray([draw, init]), d)
            at = None if ends is None else ravel_pytree(params)[1](ends[len(results)])
            results.append(
                linearised.regress(
                    *(model, params, seen.x_train, seen.y, seen.x_test),
                    at=at,
                    rates=rates,
                    ridge=ridge,
                )
            )
            if progress is not None:
                progress(len(results), draws * inits, float("nan"))
    outputs = jnp.stack(results).reshape(draws, inits, *results[0].shape)
    keys = [jax.random.key_data(draw_key(key, draw)) for draw in numbers]
    return Draws(outputs=outputs, draw_keys=jnp.stack(keys))
