"""What the noise of stochastic gradients leaves in the outputs of a stream.

Every epoch visits each row once, with other noise; the weights take a small step
against its residual. Around their flow they diffuse, and forget at the rates of it.

Equations: docs/theory/online.md (O4), (O5).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.numerics.edges import matmul
from theory.records import record
from theory.regression.online import Flow, Start, Stream, learned

# Times between start and end at which residuals are looked at: Gauss points of
# intervals that halve towards both, where modes of any rate begin and where what they
# leave is forgotten.
_HALVINGS, _PER_INTERVAL = 12, 3


@record(kw_only=True)
class History:
    """Residuals at times from start to end, which stochastic gradients multiply, (O4).

    Attributes:
        left: time that is left.
        step: weights of these times in an integral over them.
        squares: sum over rows of products of residuals, weighted by squares of scales.
        loads: products of weights with the noise between them.
        on_noise: onto^T noise (weights).
        on_means: onto^T of the sum of means and residuals.
        of_start: `squares` of the random function that the start leaves.
        fourth: sum over rows of the squares of `Stream.square`.
        feedback: what of the square of a residual comes back as fluctuations of later
            ones; at one and above steps are too long for any law.
    """

    left: Float[Array, " s"]
    step: Float[Array, " s"]
    squares: Float[Array, "s c c"]
    loads: Float[Array, "s c c"]
    on_noise: Float[Array, "s k c"]
    on_means: Float[Array, "s k c"]
    of_start: Float[Array, " s"]
    fourth: Float[Array, ""]
    feedback: Float[Array, ""]


def times() -> tuple[np.ndarray, np.ndarray]:
    """Returns the Gauss points on [0, 1], and their weights."""
    towards = np.concatenate([[0.0], 0.5 ** np.arange(_HALVINGS, 0, -1)])
    edges = np.concatenate([towards, 1 - towards[-2::-1]])
    at, weights = np.polynomial.legendre.leggauss(_PER_INTERVAL)
    half = np.diff(edges)[:, None] / 2
    middle = (edges[1:] + edges[:-1])[:, None] / 2
    return (middle + half * at[None, :]).ravel(), (half * weights[None, :]).ravel()


def _start_left(flow: Flow, start: Start | None, time: Array) -> Array:
    """Sum over rows of the variance that training for a time leaves of the start."""
    if start is None:
        return jnp.zeros_like(time)
    gone = 1 - jnp.exp(-2 * flow.rates * time)
    return start.own - (gone * jnp.diagonal(start.square)).sum()


def history(
    stream: Stream, flow: Flow, start: Start | None, time: Array, epoch: Array
) -> History:
    """Returns the residuals on the way: 72 times, n m c multiply-adds each.

    Args:
        stream: the rows.
        flow: their modes.
        start: the function that a network starts as; None for none.
        time: of the flow.
        epoch: of it, in which every row is seen once; zero for no noise of gradients.
    """
    at, weights = (jnp.asarray(part, stream.y.dtype) for part in times())
    square = stream.square
    fourth = (square**2).sum()

    def one(share):
        done = learned(flow.rates, share * time)[:, None] * flow.targets
        b = matmul(stream.weight, matmul(flow.back, done))
        residual = stream.y - matmul(stream.once, b)
        loaded = matmul(stream.shaken, b)
        load = matmul(b.T, loaded)
        weighted = residual * square[:, None]
        cubes = stream.mean * (square**1.5)[:, None]
        return (
            matmul(weighted.T, residual) + fourth * load,
            load,
            matmul(flow.onto.T, loaded),
            matmul(flow.onto.T, matmul(cubes.T, residual)),
            square.mean() * _start_left(flow, start, share * time),
        )

    step = weights * time
    squares, *between, of_start = jax.lax.map(one, at)
    squares, of_start, feedback = _with_fluctuations(
        flow, step, (squares, *between, of_start), fourth, square.mean(), epoch
    )
    loads, on_noise, on_means = between
    return History(
        left=(1 - at) * time,
        step=step,
        squares=squares,
        loads=loads,
        on_noise=on_noise,
        on_means=on_means,
        of_start=of_start,
        fourth=fourth,
        feedback=feedback,
    )


def _with_fluctuations(
    flow: Flow,
    step: Float[Array, " s"],
    residuals: tuple[Array, ...],
    fourth: Array,
    square: Array,
    epoch: Array,
) -> tuple[Array, Array, Array]:
    """Squares of residuals with what earlier gradients have left in them, (O4).

    A Volterra equation in time, solved interval by interval: on each the variances of
    all modes are exact for what they are fed.

    Args:
        flow: the modes.
        step: the intervals.
        residuals: of the flow alone: `squares`, `loads`, `on_noise`, `on_means` and
            `of_start` of `History`.
        fourth: as there.
        square: mean square of the scale.
        epoch: of the flow.

    Returns:
        `squares`, `of_start` and `feedback`.
    """
    rates, noise = flow.rates, jnp.diagonal(flow.noise)
    spread = jnp.diagonal(flow.spread)
    c = residuals[0].shape[1]

    def one(variances, at):
        cov, start = variances
        step, squares, loads, on_noise, on_means, of_start = at
        forgets = 2 * rates * step
        outer = lambda x, y: x[:, None, :] * y[:, :, None]
        fed = noise[:, None, None] * squares[None] + spread[:, None, None] * loads[None]
        fed = fed + fourth * outer(on_noise, on_noise)
        fed = fed - outer(on_noise, on_means) - outer(on_means, on_noise)
        half, whole = (epoch * learned(2 * rates, part) for part in (step / 2, step))
        kept = jnp.exp(-forgets / 2) * rates**2
        # what the variances of the middle add to the residuals they are fed by
        own = square * (rates**2 * half * noise).sum()
        seen = jnp.tensordot(kept, cov, 1) + jnp.tensordot(rates**2 * half, fed, 1)
        seen_start = kept @ start + (rates**2 * half * noise).sum() * of_start
        more, more_start = square * seen / (1 - own), square * seen_start / (1 - own)
        fed = fed + noise[:, None, None] * more[None]
        still = jnp.exp(-forgets)
        cov = still[:, None, None] * cov + whole[:, None, None] * fed
        start = still * start + whole * noise * (of_start + more_start)
        return (cov, start), (squares + more, of_start + more_start)

    nothing = jnp.zeros((len(rates), c, c), rates.dtype), jnp.zeros_like(rates)
    squares, of_start = jax.lax.scan(one, nothing, (step, *residuals))[1]
    # of all time: the share of a residual that comes back
    feedback = square * epoch * (rates**2 * learned(2 * rates, step.sum()) * noise)
    return squares, of_start, feedback.sum()


def _like(part: Float[Array, "c c"], pairs: Array) -> Array:
    """The same for every pair."""
    return part.reshape((1,) * pairs.ndim + part.shape)


def _over_time(
    flow: Flow, of: History, meet: Callable[..., Array]
) -> tuple[Array, Array]:
    """Integral over time of what gradients add to pairs of test rows, (O5).

    Args:
        flow: the modes.
        of: the residuals.
        meet: (left, X) -> of every pair of rows with the symmetric matrix X between;
            (left, X, Y) -> its products with X, along the last axis, and with Y.

    Returns:
        Covariance of the outputs, and of what one start adds to each.
    """
    along = (of.left, of.step, of.squares, of.loads, of.on_noise, of.on_means)

    def one(total, at):
        left, step, squares, loads, on_noise, on_means, of_start = at
        decay = jnp.exp(-flow.rates * left)
        through = meet(decay, flow.noise)
        cov = through[..., None, None] * _like(squares, through)
        cov = cov + meet(decay, flow.spread)[..., None, None] * _like(loads, through)
        crossed = meet(decay, on_noise, on_means) + meet(decay, on_means, on_noise)
        cov = cov + of.fourth * meet(decay, on_noise, on_noise) - crossed
        start = through * of_start
        return (total[0] + step * cov, total[1] + step * start), None

    shape = jax.eval_shape(lambda: meet(flow.rates, flow.noise)).shape
    zero = jnp.zeros(shape, flow.rates.dtype)
    each = jnp.zeros((*shape, *of.squares.shape[1:]), flow.rates.dtype)
    return jax.lax.scan(one, (each, zero), (*along, of.of_start))[0]


def of_pairs(
    flow: Flow, of: History, one: Float[Array, "t k"], two: Float[Array, "s k"]
) -> tuple[Float[Array, "t s c c"], Float[Array, "t s"]]:
    """Returns what stochastic gradients add to the covariance of pairs of test rows.

    For epochs of unit time; (O5). Cost: 72 times 2 t k^2 multiply-adds.

    Args:
        flow: the modes.
        of: the residuals.
        one: test weights v back.
        two: of the others; `one` itself for all pairs of these.
    """

    def meet(decay, *between):
        at_one, at_two = one * decay[None, :], two * decay[None, :]
        if len(between) == 1:
            return matmul(matmul(at_one, between[0]), at_two.T)
        x, y = matmul(at_one, between[0]), matmul(at_two, between[1])
        return x[:, None, None, :] * y[None, :, :, None]

    return _over_time(flow, of, meet)


def own(
    flow: Flow, of: History, rows: Float[Array, "t k"]
) -> tuple[Float[Array, "t c c"], Float[Array, " t"]]:
    """`of_pairs` of every test row with itself."""

    def meet(decay, *between):
        at = rows * decay[None, :]
        if len(between) == 1:
            return (matmul(at, between[0]) * at).sum(axis=1)
        x, y = (matmul(at, part) for part in between)
        return x[:, None, :] * y[:, :, None]

    return _over_time(flow, of, meet)


def of_random(
    flow: Flow, of: History, cov: Float[Array, "k k"]
) -> tuple[Float[Array, "c c"], Float[Array, ""]]:
    """Mean of `own` of random test rows of mean zero and this covariance."""

    def meet(decay, *between):
        at = decay[:, None] * cov * decay[None, :]
        if len(between) == 1:
            return (at * between[0]).sum()
        x, y = between
        return matmul(y.T, matmul(at, x))

    return _over_time(flow, of, meet)
