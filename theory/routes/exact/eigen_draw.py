"""One corruption draw at all times or all ridges, from one eigendecomposition.

Equations: docs/theory/training.md (D2)-(D4). Loss and unit of time:
`theory.routes.exact.paths`.
"""

import functools

import jax
import jax.numpy as jnp

from theory.corruption.copies import corrupt_problem
from theory.kernels import matrices, truncation
from theory.numerics import blocks, solve
from theory.routes.exact import draw_loop

# Halvings of the interval of the logarithm of a stopping time: below its rounding.
_HALVINGS = 60


def _stopping_times(values, power, target):
    """Times (k,) at which sum_j power_j e^{-2 values_j t} has fallen to `target`.

    By bisection of the logarithm: the sum falls faster than its slowest mode and slower
    than its fastest. And whether each is reached: it is not where modes that rounding
    hides would have to be learned.
    """
    floor = len(values) * jnp.finfo(values.dtype).eps * values[-1]
    logs = jnp.log(jnp.maximum(power.sum() / target, 1.0))
    slowest = jnp.maximum(values[0], floor)
    low, high = (jnp.log(logs / (2 * rate)) for rate in (values[-1], slowest))

    def left(log_time):
        return jnp.exp(-2 * values[None, :] * jnp.exp(log_time)[:, None]) @ power

    def halve(_, interval):
        low, high = interval
        middle = (low + high) / 2
        above = left(middle) > target
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    _, high = jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))
    # 1e-3: far above rounding, far below what a hidden mode leaves
    reached = left(high) <= target * (1 + 1e-3)
    return jnp.where(logs > 0, jnp.exp(high), 0.0), reached | (logs <= 0)


def _times(values, power, grid, rule):
    """The grid of the rule, and which of its times are reached."""
    if rule == "train_mse":
        return _stopping_times(values, power, grid)
    return grid, jnp.ones(grid.shape, bool)


def _learned(values, grid, rule):
    """Weights of the modes and what they leave, docs/theory/training.md (D2), (D4)."""
    if rule == "ridge":
        weights = 1 / (values[None, :] + grid[:, None])
        return weights, grid[:, None] * weights
    # not 1 - values weights, which cancels
    left = jnp.exp(-values[None, :] * grid[:, None])
    return solve.flow_weights(values[None, :], grid[:, None]), left


@functools.partial(jax.jit, static_argnames=("rule", "copies", "with_init_var"))
def one_draw(
    arch,
    corruption,
    test_corruption,
    problem,
    key,
    draw,
    grid,
    inits,
    *,
    rule,
    copies,
    with_init_var,
):
    """One draw of a path, its fields without the draw axis; `rule` reads `grid`."""
    seen = corrupt_problem(
        corruption, problem, key, draw, copies=copies, test_corruption=test_corruption
    )
    x, y = seen.x_train, seen.y
    train = matrices.gram(x, arch)
    vectors, values = jax.lax.linalg.eigh(train.ntk, symmetrize_input=False)
    targets = vectors.T @ y
    start = vectors.T @ train.nngp @ vectors
    mean_power = (targets**2).sum(axis=1) / y.size
    start_power = jnp.diagonal(start) / y.shape[0]
    grid, reached = _times(values, mean_power + start_power / inits, grid, rule)
    weights, left = _learned(values, grid, rule)

    def predict(x_test):
        test = matrices.nngp_ntk(x_test, x, arch)
        rows = test.ntk @ vectors
        dual = weights.T[:, :, None] * targets[:, None, :]
        outputs = rows @ dual.reshape(len(values), -1)
        outputs = outputs.reshape(len(rows), len(grid), -1)
        if not with_init_var:
            return outputs, None
        prior = matrices.nngp_ntk_diag(x_test, arch).nngp
        crossed = test.nngp @ vectors

        def at(weights):
            # docs/theory/training.md (D3)
            smoothed = rows * weights[None, :]
            return prior + (smoothed * (smoothed @ start - 2 * crossed)).sum(axis=1)

        return outputs, jax.lax.map(at, weights).T

    outputs, init_var = blocks.map_rows(predict, seen.x_test, draw_loop.BLOCK)
    return {
        "grid": grid,
        "reached": reached,
        "outputs": outputs.swapaxes(0, 1),
        "init_var": None if init_var is None else init_var.T,
        "train_mse": left**2 @ mean_power,
        "init_mse": left**2 @ start_power,
        "diagnostics": {
            "margin": values[0] / values[-1],
            "truncation_error": truncation.worst_truncation(arch, seen),
        },
        "largest": values[-1],
    }
