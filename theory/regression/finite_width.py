"""Kernel regression with units of which there are finitely many, and which are shared.

The kernel of a network of width n holds, at every hidden layer l, the empirical
covariance of n random units; so does the covariance of the function that training
starts from. Averaged over the units, both regressions are those of a kernel in which
the share of every layer is reduced, by a factor that the regression itself decides.
Nothing here knows of networks; the share of layers is a vector of L - 1 numbers.

Equations: docs/theory/finite_width.md (W1)-(W7).
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

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


@runtime_checkable
class Coupled(Protocol):
    """How layers hang together: `direct` and `passed` of `Units`."""

    @property
    def direct(self) -> Any:
        """Derivatives of the kernel in the layers' covariances."""

    @property
    def passed(self) -> Any:
        """Derivatives of these in those below."""


class Traces(NamedTuple):
    """Of the resolvent Q at given shares, with the parts M.

    Attributes:
        single: tr M_l Q.
        double: tr M_l Q M_m Q.
        spread: h Q h of samples of units, over its mean.
    """

    single: Float[Array, " l"]
    double: Float[Array, "l l"]
    spread: Float[Array, "l m"]


def kernel(units: Units, shares: Float[Array, " l"]) -> Float[Array, "n n"]:
    """Returns the mean kernel of the training points at some shares."""
    return units.rest + jnp.einsum("l,lij->ij", shares, units.parts)


def infinite(units: Coupled) -> Float[Array, " l"]:
    """Returns the shares at infinite width."""
    return _strengths(units, None, units.direct[-1])


def _strengths(units: Coupled, shares: Array | None, last: Array) -> Array:
    """Derivatives of the kernel in the covariances of layers, c of (W3)."""
    found = [last]
    for at in range(len(units.direct) - 1, 0, -1):
        above = found[-1] if shares is None else shares[at]
        found.append(units.direct[at - 1] + units.passed[at] * above)
    return jnp.stack(found[::-1])


def _implied(units: Coupled, shares, single, spread, width, s) -> Array:
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


def traces(units: Units, shares) -> tuple[Traces, solve.Smoother]:
    """Returns the traces at some shares, and the inverse that they are made of."""
    smoother = solve.inverse(kernel(units, shares), 0.0)
    moved = jnp.stack([smoother.apply(part) for part in units.parts])
    reach = jnp.stack([smoother.apply(part) for part in units.samples])
    squares = (units.samples * reach).sum(axis=1)
    return Traces(
        jnp.trace(moved, axis1=1, axis2=2),
        jnp.einsum("lij,mji->lm", moved, moved),
        squares / squares.mean(axis=1, keepdims=True),
    ), smoother


def _answers(units: Coupled, shares, found: Traces, width):
    """Derivatives of the implied shares: by shares, all told; by traces; by s."""
    zero = jnp.zeros((), shares.dtype)
    by_shares, by_traces, by_s = jax.jacfwd(
        lambda shares, single, s: _implied(
            units, shares, single, found.spread, width, s
        ),
        argnums=(0, 1, 2),
    )(shares, found.single, zero)
    return by_shares - matmul(by_traces, found.double), by_traces, by_s


def newton_step(
    units: Coupled, shares: Float[Array, " l"], found: Traces, width
) -> tuple[Float[Array, " l"], Float[Array, ""]]:
    """Returns the next shares, and the relative size of the undamped step."""
    one, zero = jnp.eye(len(shares), dtype=shares.dtype), jnp.zeros((), shares.dtype)
    implied = _implied(units, shares, found.single, found.spread, width, zero)
    by_shares, _, _ = _answers(units, shares, found, width)
    relative = jnp.linalg.solve(one - by_shares, implied - shares) / shares
    size = jnp.abs(relative).max()
    return shares * (1 + relative * jnp.minimum(1.0, _LARGEST_STEP / size)), size


def unfinished(size: Float[Array, ""], steps) -> Array:
    """Whether to go on: a step changes a share by more than the root of rounding."""
    return (size > jnp.finfo(size.dtype).eps ** 0.5) & (steps < _STEPS)


def responses(
    units: Coupled,
    shares: Float[Array, " l"],
    found: Traces,
    width: Float[Array, ""],
    moved: tuple[Float[Array, " l"], Float[Array, "l c c"]],
) -> tuple[Float[Array, " l"], Float[Array, "l c c"]]:
    """Returns how the solved shares answer to the start, and to pairs of targets.

    Args:
        units: the layers.
        shares: the solution.
        found: traces there.
        width: units of every hidden layer.
        moved: what the two change tr M_l Q by, with the sign turned: for the start, of
            its part that no unit has, b 1^T Q M_l Q 1; y_c^T Q M_l Q y_c'.
    """
    one = jnp.eye(len(shares), dtype=shares.dtype)
    by_shares, by_traces, by_s = _answers(units, shares, found, width)
    answer = lambda source: jnp.linalg.solve(one - by_shares, source)
    constant, pairs = moved
    flat = answer(-matmul(by_traces, pairs.reshape(len(pairs), -1)))
    start = by_s - matmul(by_traces, constant[:, None])[:, 0]
    return answer(start), flat.reshape(pairs.shape)


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

    def step(state):
        shares, _, steps = state
        new, size = newton_step(units, shares, traces(units, shares)[0], width)
        return new, size, steps + 1

    start = infinite(units), jnp.asarray(jnp.inf, y.dtype), jnp.zeros((), jnp.int32)
    shares, residual, steps = jax.lax.while_loop(
        lambda state: unfinished(*state[1:]), step, start
    )
    found, smoother = traces(units, shares)
    ones = smoother.apply(jnp.ones_like(y[:, :1]))[:, 0]
    constant = units.constant * jnp.einsum("i,lij,j->l", ones, units.parts, ones)
    weights = smoother.apply(y)
    pairs = jnp.einsum("ic,lij,jd->lcd", weights, units.parts, weights)
    by_start, by_targets = responses(units, shares, found, width, (constant, pairs))
    return Solution(
        shares=shares,
        kernel=kernel(units, shares),
        by_start=by_start,
        by_targets=by_targets,
        steps=steps,
        residual=residual,
    ), smoother


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
