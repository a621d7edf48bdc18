"""Kernel regression with noisy features, solved by its deterministic equivalent.

The kernel between training rows is base + Phi W Phi^T. The base is diagonal and known;
the features phi_a = mean_a + noise_a carry independent noise of one covariance Sigma;
W is symmetric and may be indefinite. A test point has a row of kernel entries with the
training points, its mean g_0 plus w.noise_a. The prediction is

    f = (row) (base + Phi W Phi^T)^{-1} y.

`solve` gives two scalars, tau and omega, in terms of which
`theory.regression.responses` knows mean and covariance of f over the noise, to leading
order in the number of rows and features, with no sampling. Nothing here knows of
networks.

Rows of unequal noise strength: divide row, base and targets by it first, the
prediction is the same. A base that is not diagonal: its diagonal plus features without
noise (landmarks).

Equations: docs/theory/regression.md (E1)-(E9). Hachem, Loubaton, Najim 2007
(arXiv:math/0507172) for the equivalent of information-plus-noise matrices; the
covariance follows from the fluctuations about it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from theory.numerics import doors
from theory.numerics.edges import matmul
from theory.records import record
from theory.regression import row_sums
from theory.regression.row_sums import Moments, Sums

# Newton's method: 5-7 steps from the start below; a step changes neither by more than
# this factor.
_STEPS, _LARGEST_STEP = 60, 0.7


@record(kw_only=True)
class Rows:
    """Training rows: what the kernel is made of, and the targets.

    Attributes:
        base: diagonal base of every row.
        mean: mean features.
        weight: W, symmetric, may be indefinite.
        noise: Sigma, covariance of every row's noise, positive semi-definite.
        y: targets.
        idle: base of rows without mean and targets, which only add noise.
        idle_count: how many times each of them is there.
        entry_noise: variance of independent noise in every entry of the kernel but the
            diagonal.
    """

    base: Float[Array, " n"]
    mean: Float[Array, "n m"]
    weight: Float[Array, "m m"]
    noise: Float[Array, "m m"]
    y: Float[Array, "n c"]
    idle: Float[Array, " k"]
    idle_count: Float[Array, ""]
    entry_noise: Float[Array, ""] | float = 0.0


@record(kw_only=True)
class Equivalent:
    """The deterministic equivalent of `Rows`: all that predictions need.

    Attributes:
        rows: what was solved.
        tau: trace of the mean resolvent over the rows.
        omega: trace of Sigma times the mean resolvent over the features.
        lam: mean resolvent over the features, Lambda.
        bare: Lambda if no row reached the features, W (1 + tau Sigma W)^{-1}.
        second: A = mean^T (base + omega)^{-1} mean.
        third: A_2, the same with the square of the inverse.
        fourth: A_3, with its third power.
        shrink: (I + tau W Sigma)^{-1}: what noise leaves of the weights of a test row.
        y_rows: mean resolvent applied to the targets.
        y_features: their image in the features.
        y_pairs: pairings of the targets, over rows and over features.
        shift: omega less what noise of entries takes away; adds to the base.
        kernel: the 2 x 2 matrix J (1 - Pi J)^{-1} that joins pairings to covariances.
        residual: relative change of (tau, omega) by a last step; NaN if it failed.
        steps: of Newton's method.
    """

    rows: Rows
    tau: Float[Array, ""]
    omega: Float[Array, ""]
    shift: Float[Array, ""]
    lam: Float[Array, "m m"]
    bare: Float[Array, "m m"]
    second: Float[Array, "m m"]
    third: Float[Array, "m m"]
    fourth: Float[Array, "m m"]
    shrink: Float[Array, "m m"]
    y_rows: Float[Array, "n c"]
    y_features: Float[Array, "m c"]
    y_pairs: Float[Array, "2 c c"]
    kernel: Float[Array, "2 2"]
    residual: Float[Array, ""]
    steps: Int[Array, ""]


def traces(rows: Rows, tau, omega, sums: Sums):
    """Lambda at (tau, omega), the two traces that they imply, and Pi."""
    shift = omega - rows.entry_noise * tau
    k, k_idle = rows.base + shift, rows.idle + shift
    second, third, fourth = sums
    identity = jnp.eye(rows.weight.shape[0], dtype=rows.weight.dtype)
    # Lambda = W (1 + (tau Sigma + A) W)^{-1}; neither W nor Sigma is ever inverted
    system = identity + matmul(tau * rows.noise + second, rows.weight)
    lam = jnp.linalg.solve(system.T, rows.weight.T)
    lam = (lam + lam.T) / 2
    noise_lam, lam_third = matmul(rows.noise, lam), matmul(lam, third)
    implied = jnp.stack(
        [
            (1 / k).sum() - jnp.trace(lam_third) + rows.idle_count * (1 / k_idle).sum(),
            jnp.trace(noise_lam),
        ]
    )
    pi_rows = (
        (1 / k**2).sum()
        - 2 * (lam * fourth).sum()
        + (lam_third * lam_third.T).sum()
        + rows.idle_count * (1 / k_idle**2).sum()
    )
    pi_cross = (noise_lam * lam_third).sum()
    pi_features = (noise_lam * noise_lam.T).sum()
    return lam, implied, (pi_rows, pi_cross, pi_features)


def _sums(rows: Rows, moments: Moments | None, tau, omega) -> Sums:
    shift = omega - rows.entry_noise * tau
    if moments is None:
        return row_sums.direct(rows.mean, rows.base + shift)
    return row_sums.interpolated(moments, shift)


def solve(
    rows: Rows,
    start: tuple[Array, Array] | None = None,
    moments: Moments | None = None,
) -> Equivalent:
    """Solves the two equations by Newton's method, whose Jacobian is Pi.

    Cost per step: 3 n m^2 multiply-adds without moments, and some 6 m^3; memory n m.

    Args:
        rows: the rows; `base` plus the trace of W Sigma must be positive, or base and
            targets complex and `start` near the solution (`theory.regression.flow`).
        start: tau and omega to start from.
        moments: `moments_of` the rows; derivatives of what is solved do without, and
            so does a solution whose noise of entries takes much of the bases.

    Returns:
        The solution. Stopped where a step changes neither scalar by 1e4 roundings, or
        after 60 steps: look at `residual`.
    """
    start = _first_guess(rows) if start is None else start
    found = _solve(rows, *start, moments)
    if moments is None:
        return found
    if not bool(found.shift >= row_sums.least_shift(rows.base)):
        return _solve(rows, *start, None)
    return found


def moments_of(rows: Rows) -> Moments | None:
    """Returns what spares `solve` its sums over rows; None where bases differ much.

    Host: so it is for rows that are traced or differentiated. 2 to 16 n m^2
    multiply-adds.
    """
    if not doors.concrete(rows):
        return None
    count = row_sums.nodes_needed(rows.base)
    if count is None:
        return None
    return row_sums.moments(rows.base, rows.mean, count=count)


@jax.jit
def _first_guess(rows: Rows) -> tuple[Array, Array]:
    omega = (rows.weight * rows.noise).sum()
    tau = (1 / (rows.base + omega)).sum()
    return tau + rows.idle_count * (1 / (rows.idle + omega)).sum(), omega


def answer(gap: Array, pi: tuple[Array, Array, Array], v) -> Array:
    """What a gap between implied and given scalars changes of them, to first order."""
    pi_rows, pi_cross, pi_features = pi
    # d implied / d (tau, omega) = [[Pi_12, -Pi_11], [-Pi_22, Pi_12]]
    # - entry_noise [[-Pi_11, 0], [Pi_12, 0]]
    one = 1 - pi_cross
    return jnp.stack(
        [
            one * gap[0] - pi_rows * gap[1],
            (one - v * pi_rows) * gap[1] - (pi_features + v * pi_cross) * gap[0],
        ]
    ) / (one**2 - pi_rows * (pi_features + v))


def _change(rows: Rows, moments: Moments | None, tau: Array, omega: Array) -> Array:
    """The step of Newton's method from (tau, omega), undamped."""
    _, implied, pi = traces(rows, tau, omega, _sums(rows, moments, tau, omega))
    return answer(implied - jnp.stack([tau, omega]), pi, rows.entry_noise)


def _newton_step(rows: Rows, moments, tau: Array, omega: Array) -> tuple[Array, Array]:
    """The next (tau, omega) on the way to the fixed point, and the relative step."""
    at, change = jnp.stack([tau, omega]), _change(rows, moments, tau, omega)
    # without noise omega is zero and stays there
    relative = jnp.where(change == 0, 0.0, change / jnp.where(at == 0, 1.0, at))
    size = jnp.abs(relative).max()
    damped = relative * jnp.minimum(1.0, _LARGEST_STEP / size)
    return at * (1 + damped), size


@jax.custom_jvp
def _fixed_point(
    rows: Rows, moments: Moments | None, tau: Array, omega: Array
) -> tuple[Array, Array, Array]:
    """The (tau, omega) that imply themselves, the last relative step, and how many."""
    tolerance = 1e4 * jnp.finfo(rows.y.dtype).eps

    def step(state):
        at, _, steps = state
        new, size = _newton_step(rows, moments, *at)
        return (new[0], new[1]), size, steps + 1

    def unfinished(state):
        _, size, steps = state
        return (size > tolerance) & (steps < _STEPS)

    dtype, real = rows.y.dtype, jnp.finfo(rows.y.dtype).dtype
    pair = (tau.astype(dtype), omega.astype(dtype))
    state = (pair, jnp.asarray(jnp.inf, real), jnp.zeros((), jnp.int32))
    (tau, omega), residual, steps = jax.lax.while_loop(unfinished, step, state)
    return jnp.stack([tau, omega]), residual, steps


@_fixed_point.defjvp
def _fixed_point_jvp(primals, tangents):
    """Implicitly: where it does not move, a step changes as the fixed point does."""
    rows, *_ = primals
    at, residual, steps = _fixed_point(*primals)
    change = jax.jvp(lambda rows: _change(rows, None, *at), (rows,), tangents[:1])[1]
    none = jnp.zeros(steps.shape, jax.dtypes.float0)
    return (at, residual, steps), (change, jnp.zeros_like(residual), none)


@jax.jit
def _solve(rows: Rows, tau: Array, omega: Array, moments: Moments | None) -> Equivalent:
    (tau, omega), residual, steps = _fixed_point(rows, moments, tau, omega)
    sums = _sums(rows, moments, tau, omega)
    return solved(rows, tau, omega, sums, residual=residual, steps=steps)


def solved(rows: Rows, tau: Array, omega: Array, sums: Sums, **of_search: Array):
    """The equivalent at the scalars that imply themselves."""
    second, third, fourth = sums
    lam, _, (pi_rows, pi_cross, pi_features) = traces(rows, tau, omega, sums)
    shift = omega - rows.entry_noise * tau
    k = rows.base + shift
    y_features = matmul(lam, matmul(rows.mean.T, rows.y / k[:, None]))
    y_rows = (rows.y - matmul(rows.mean, y_features)) / k[:, None]
    identity = jnp.eye(lam.shape[0], dtype=lam.dtype)
    shrink = jnp.linalg.inv(identity + tau * matmul(rows.weight, rows.noise))
    one, beside = 1 - pi_cross, pi_features + rows.entry_noise
    return Equivalent(
        rows=rows,
        tau=tau,
        omega=omega,
        shift=shift,
        lam=lam,
        bare=matmul(shrink, rows.weight),
        second=second,
        third=third,
        fourth=fourth,
        shrink=shrink,
        y_rows=y_rows,
        y_features=y_features,
        y_pairs=jnp.stack(
            [
                matmul(y_rows.T, y_rows),
                matmul(y_features.T, matmul(rows.noise, y_features)),
            ]
        ),
        kernel=jnp.array([[beside, one], [one, pi_rows]]) / (one**2 - pi_rows * beside),
        **of_search,
    )
