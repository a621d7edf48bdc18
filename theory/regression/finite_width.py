"""Kernel regression with units of which there are finitely many, and which are shared.

The kernel of a network of width n holds, at every hidden layer l, the empirical
covariance of n random units; so does the covariance of the function that training
starts from. Averaged over the units, both regressions are those of a kernel in which
the share of every layer is reduced, by a factor that the regression itself decides.
Nothing here knows of networks; the share of layers is a vector of L - 1 numbers.

Equations: docs/theory/finite_width.md (W1)-(W7).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from theory.numerics import solve
from theory.numerics.edges import matmul
from theory.records import record

# Newton's method: 4-6 steps; a step changes no share by more than this factor.
_STEPS, _LARGEST_STEP = 40, 0.7


@record(kw_only=True)
class Units:
    """Kernel of training points, by hidden layers from the first to the last.

    The kernel is `rest` plus the shares times `parts`: at infinite width, shares that
    follow from `direct` and `passed` alone.

    Attributes:
        rest: what no unit of a hidden layer adds; with the ridge.
        parts: covariance of the units of a layer, less what comes from the layer below.
        direct: derivative of the kernel in the covariance of a layer, those of later
            layers held.
        passed: derivative of that covariance in the one below; the first is not used.
        samples: values of some units of every layer at the points.
        constant: variance of the start that no unit of a hidden layer has.
    """

    rest: Float[Array, "n n"]
    parts: Float[Array, "l n n"]
    direct: Float[Array, " l"]
    passed: Float[Array, " l"]
    samples: Float[Array, "l n m"]
    constant: Float[Array, ""]


@record(kw_only=True)
class Solution:
    """What predictions need.

    Attributes:
        shares: of the parts in the mean kernel.
        kernel: the mean kernel of the training points.
        by_start: how the shares answer to a little of the start's covariance.
        by_targets: how they answer to products of two targets.
        steps: of Newton's method.
        residual: relative change of the shares by a last step.
    """

    shares: Float[Array, " l"]
    kernel: Float[Array, "n n"]
    by_start: Float[Array, " l"]
    by_targets: Float[Array, "l c c"]
    steps: Int[Array, ""]
    residual: Float[Array, ""]


class _Traces(NamedTuple):
    """Of the resolvent Q at given shares, with the parts M."""

    smoother: solve.Smoother
    single: Float[Array, " l"]  # tr M_l Q
    double: Float[Array, "l l"]  # tr M_l Q M_m Q
    spread: Float[Array, "l m"]  # h Q h of the samples, over its mean


def kernel(units: Units, shares: Float[Array, " l"]) -> Float[Array, "n n"]:
    """Returns the mean kernel of the training points at some shares."""
    return units.rest + jnp.einsum("l,lij->ij", shares, units.parts)


def infinite(units: Units) -> Float[Array, " l"]:
    """Returns the shares at infinite width."""
    return _strengths(units, None, units.direct[-1])


def _strengths(units: Units, shares: Array | None, last: Array) -> Array:
    """Derivatives of the kernel in the covariances of layers, c of (W3)."""
    found = [last]
    for at in range(len(units.direct) - 1, 0, -1):
        above = found[-1] if shares is None else shares[at]
        found.append(units.direct[at - 1] + units.passed[at] * above)
    return jnp.stack(found[::-1])


def _implied(units: Units, shares, single, spread, width, s) -> Array:
    """The shares that follow from shares and traces, (W3)-(W5)."""
    strengths = _strengths(units, shares, units.direct[-1] + s)
    below, found = jnp.zeros_like(s), []
    for at in range(len(units.direct)):
        trace = single[at] + units.passed[at] * below
        each = strengths[at] * trace / width * spread[at]
        kept = (spread[at] / (1 + each)).mean()
        below = trace * kept
        found.append(strengths[at] * kept)
    return jnp.stack(found)


def _traces(units: Units, shares) -> _Traces:
    smoother = solve.inverse(kernel(units, shares), 0.0)
    moved = jnp.stack([smoother.apply(part) for part in units.parts])
    reach = jnp.stack([smoother.apply(part) for part in units.samples])
    squares = (units.samples * reach).sum(axis=1)
    return _Traces(
        smoother,
        jnp.trace(moved, axis1=1, axis2=2),
        jnp.einsum("lij,mji->lm", moved, moved),
        squares / squares.mean(axis=1, keepdims=True),
    )


def _answers(units: Units, shares, found: _Traces, width):
    """Derivatives of the implied shares: by shares, all told; by traces; by s."""
    zero = jnp.zeros((), shares.dtype)
    by_shares, by_traces, by_s = jax.jacfwd(
        lambda shares, single, s: _implied(
            units, shares, single, found.spread, width, s
        ),
        argnums=(0, 1, 2),
    )(shares, found.single, zero)
    return by_shares - matmul(by_traces, found.double), by_traces, by_s


def solve_shares(
    units: Units, y: Float[Array, "n c"], width: Float[Array, ""]
) -> tuple[Solution, solve.Smoother]:
    """Solves for the shares by Newton's method, and how they answer, (W3)-(W6).

    Cost per step, for l layers, n points and m samples: n^3/3 + l n^2 (n + m)
    multiply-adds; memory 2 l + 3 matrices.

    Args:
        units: the kernel.
        y: targets.
        width: units of every hidden layer.

    Returns:
        The solution, and the inverse of its kernel. Stopped where a step changes no
        share by more than the root of rounding, or after 40 steps: see `residual`.
    """
    zero = jnp.zeros((), y.dtype)
    one = jnp.eye(len(units.direct), dtype=y.dtype)
    tolerance = jnp.finfo(y.dtype).eps ** 0.5

    def step(state):
        shares, _, steps = state
        found = _traces(units, shares)
        gap = _implied(units, shares, found.single, found.spread, width, zero) - shares
        by_shares, _, _ = _answers(units, shares, found, width)
        relative = jnp.linalg.solve(one - by_shares, gap) / shares
        size = jnp.abs(relative).max()
        factor = jnp.minimum(1.0, _LARGEST_STEP / size)
        return shares * (1 + factor * relative), size, steps + 1

    def unfinished(state):
        _, size, steps = state
        return (size > tolerance) & (steps < _STEPS)

    start = infinite(units), jnp.asarray(jnp.inf, y.dtype), jnp.zeros((), jnp.int32)
    shares, residual, steps = jax.lax.while_loop(unfinished, step, start)
    found = _traces(units, shares)
    by_shares, by_traces, by_s = _answers(units, shares, found, width)

    def answer(moved):
        """Of the shares to a source A in the kernel, by tr M_l Q A Q."""
        return jnp.linalg.solve(one - by_shares, -matmul(by_traces, moved))

    ones = found.smoother.apply(jnp.ones_like(y[:, :1]))[:, 0]
    constant = units.constant * jnp.einsum("i,lij,j->l", ones, units.parts, ones)
    weights = found.smoother.apply(y)
    pairs = jnp.einsum("ic,lij,jd->lcd", weights, units.parts, weights)
    return Solution(
        shares=shares,
        kernel=kernel(units, shares),
        by_start=jnp.linalg.solve(one - by_shares, by_s)
        + answer(constant[:, None])[:, 0],
        by_targets=answer(pairs.reshape(len(pairs), -1)).reshape(pairs.shape),
        steps=steps,
        residual=residual,
    ), found.smoother


def variances(
    units: Units,
    solution: Solution,
    rows: Float[Array, "n t"],
    parts: Float[Array, "l t n"],
    own: Float[Array, "l t"],
) -> tuple[Float[Array, " t"], Float[Array, "t c c"]]:
    """Returns variance of the start, and covariance of what is learned, (W6)-(W7).

    Args:
        units: the kernel.
        solution: of `solve_shares`.
        rows: inverse of the mean kernel times its entries with the test points.
        parts: of the kernel between test points and training points.
        own: of every test point with itself.
    """
    across = jnp.einsum("ltn,nt->lt", parts, rows)
    inside = jnp.stack(
        [(rows * matmul(part, rows)).sum(axis=0) for part in units.parts]
    )
    left = own - 2 * across + inside
    start = solution.by_start @ left + units.constant * (1 - rows.sum(axis=0)) ** 2
    return start, jnp.einsum("lt,lcd->tcd", left, solution.by_targets)
