"""Derivative of a solved regression as its rows change.

Equations: docs/theory/regression.md (E14), and below it.
"""

import dataclasses

import jax
import jax.numpy as jnp

from theory.regression import equivalent, row_sums
from theory.regression.equivalent import Equivalent, Rows


@jax.jit
def along(solution: Equivalent, change: Rows) -> Equivalent:
    """Returns the derivative of a solution as its rows change.

    Cost: 2 n m^2 multiply-adds, and some 10 m^3.

    Args:
        solution: of `solve`.
        change: derivative of its rows.

    Returns:
        Derivatives, in the places of what they are of, but for `fourth` and `kernel`,
        of which zeros stand there: predictions of covariances are not differentiated.
    """
    rows, tau, omega = solution.rows, solution.tau, solution.omega
    k, zero = rows.base + solution.shift, jnp.zeros_like(solution.fourth)
    sums = solution.second, solution.third, solution.fourth
    by_rows = row_sums.slopes(rows.mean, k, change.mean, change.base)

    def moved(shift):
        first, second = by_rows
        return first - shift * sums[1], second - 2 * shift * sums[2], zero

    # what the traces become at fixed scalars, and what follows of the scalars
    at_fixed = moved(-change.entry_noise * tau)
    implied = lambda rows, sums: equivalent.traces(rows, tau, omega, sums)[1]
    gap = jax.jvp(implied, (rows, sums), (change, at_fixed))[1]
    _, _, pi = equivalent.traces(rows, tau, omega, sums)
    by_tau, by_omega = equivalent.answer(gap, pi, rows.entry_noise)
    shift = by_omega - rows.entry_noise * by_tau - change.entry_noise * tau
    none = dict(residual=jnp.zeros_like(tau), steps=solution.steps)
    found = jax.jvp(
        lambda *at: equivalent.solved(*at, **none),
        (rows, tau, omega, sums),
        (change, by_tau, by_omega, moved(shift)),
    )[1]
    return dataclasses.replace(
        found,
        kernel=jnp.zeros_like(solution.kernel),
        steps=jnp.zeros_like(none["steps"]),
    )
