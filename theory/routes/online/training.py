"""The training on a stream of corrupted images, and what it makes of test weights.

Equations: docs/theory/online.md (O1)-(O7).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from theory.kernels.architecture import Architecture
from theory.linearised import kernel_rows, linearise
from theory.linearised.features import Scales
from theory.linearised.image_moments import ImageMoments
from theory.linearised.training_kernel import TrainingKernel
from theory.numerics.edges import matmul
from theory.records import record
from theory.regression import gradient_noise, online
from theory.regression.equivalent import Rows


class Frame(NamedTuple):
    """What test weights are made with, of the sampled images.

    Attributes:
        scales: of their rows.
        mean: their mean features.
        weight: W.
        s: of the kernel ntk + s nngp.
    """

    scales: Scales
    mean: Float[Array, "r m"]
    weight: Float[Array, "m m"]
    s: Array


@record(kw_only=True)
class Trained:
    """The training: nothing in it belongs to test points.

    Attributes:
        arch: the architecture.
        measured: the kernel of the sampled images.
        basis: of landmarks, None for none.
        frame: at s = 0.
        frame_slope: d/ds of it.
        flow: of the weights.
        start: the function that a network starts as; None without `init_var`.
        history: of the residuals.
        time: of the flow.
        epochs: over which it is spread.
        noise_of_entries: variance of noise of entries adds so much to outputs, (O5).
        noise_of_start: and to what one start adds.
    """

    arch: Architecture
    measured: TrainingKernel
    basis: Float[Array, "r k"] | None
    frame: Frame
    frame_slope: Frame
    flow: online.Flow
    start: online.Start
    history: gradient_noise.History
    time: Array
    epochs: Array
    noise_of_entries: Float[Array, "c c"]
    noise_of_start: Float[Array, ""]


def _stream(
    measured: TrainingKernel, rows: Rows, scales: Scales, y: Float[Array, "n c"]
) -> online.Stream:
    """The rows with their random scales, (O2): the constant has minus its logarithm."""
    constant = measured.train.mean.shape[1] + 1
    of_constant, strength = rows.noise[constant], scales.root
    along = -strength[:, None] * of_constant[None, :]
    log_var = strength**2 * of_constant[constant]
    # pixels have mean zero: a scale shakes the constant, which its own noise undoes
    level = rows.mean.mean(axis=0)
    crossed = -of_constant[:, None] * level[None, :]
    by_scale = of_constant[constant] * level[:, None] * level[None, :]
    return online.Stream(
        once=(scales.row * jnp.exp(log_var / 2))[:, None] * (rows.mean + along),
        mean=rows.mean + 2 * along,
        square=scales.row**2 * jnp.exp(2 * log_var),
        weight=rows.weight,
        noise=rows.noise,
        shaken=rows.noise + crossed + crossed.T + by_scale,
        y=y,
    )


def _frame(columns: Array, rows: Rows, scales: Scales, s: Array) -> Frame:
    picked = jax.tree.map(lambda leaf: leaf[columns], scales)
    return Frame(picked, rows.mean[columns], rows.weight, s)


@jax.jit
def train(
    arch: Architecture,
    reduced_to: tuple[TrainingKernel, Float[Array, "r k"] | None],
    y: Float[Array, "n c"],
    time: Array,
    epochs: Array,
) -> Trained:
    """Trains on the stream: some 5 n m^2 multiply-adds, 72 n m c for residuals."""
    measured, basis = reduced_to
    at = lambda s: linearise.rows(arch, measured, y, basis, s=s)
    one = jnp.ones((), y.dtype)
    (rows, scales), (slope, scale_slope) = jax.jvp(at, (0 * one,), (one,))
    stream = _stream(measured, rows, scales, y)
    flow = online.flow(stream)
    start = online.start(
        stream,
        flow,
        slope.mean,
        slope.weight,
        scale_slope.slope / scales.slope,
        measured.diag.nngp,
    )
    history = gradient_noise.history(stream, flow, start, time, time / epochs)
    over_time = lambda part: jnp.tensordot(history.step, part, 1)
    return Trained(
        arch=arch,
        measured=measured.sampled(),
        basis=basis,
        frame=_frame(measured.columns, rows, scales, 0 * one),
        frame_slope=_frame(measured.columns, slope, scale_slope, one),
        flow=flow,
        start=start,
        history=history,
        time=time,
        epochs=epochs,
        noise_of_entries=over_time(history.squares) / stream.square.mean(),
        noise_of_start=over_time(history.of_start) / stream.square.mean(),
    )


class Weights(NamedTuple):
    """Test weights v = W phi, and their derivative in s."""

    at: Float[Array, "t m"]
    slope: Float[Array, "t m"]


def weights(
    trained: Trained, test: ImageMoments, rows: kernel_rows.KernelRows
) -> Weights:
    """Returns the weights of test points, from their entries with landmarks, (O3)."""
    arch, measured, basis = trained.arch, trained.measured, trained.basis

    def at(frame: Frame):
        g, w = kernel_rows.scaled(
            arch,
            measured,
            frame.scales,
            test,
            rows,
            frame.s,
            features=frame.mean.shape[1],
        )
        if basis is None:
            return w
        first = w.shape[1] - basis.shape[1]
        # what is linear in the features is no business of landmarks
        rest = g - matmul(w, frame.mean.T)
        through = matmul(matmul(rest, basis), frame.weight[first:, first:])
        return w.at[:, first:].set(through)

    return Weights(*jax.jvp(at, (trained.frame,), (trained.frame_slope,)))
