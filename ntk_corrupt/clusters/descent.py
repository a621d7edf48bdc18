"""Full-batch gradient descent of two-layer networks, and its limit of infinite width.

The loss is (1/2) sum_i (f(x_i) - y_i)^2, a sum and not a mean, plus
(ridge/2) |W - W0|^2 if there is a ridge. `descend` trains a network, `flow` and
`regress` solve the linearised one in closed form, from one eigendecomposition of a
kernel: that of infinite width (`theory.two_layer.clusters.fixed_output`) or that of the
network at its start (`TwoLayer.jacobian_gram`). All start at the outputs of the network
itself. `rate` times iterations is the time of the flow.

Setting: Li, Soltanolkotabi & Oymak 2020, arXiv:1903.11680, section 2.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ntk_corrupt.networks.two_layer import TwoLayer
from theory.errors import InputError
from theory.numerics import doors, solve
from theory.numerics.signatures import checked
from theory.records import record


@record(kw_only=True)
class Path:
    """A network, or its linearisation, at some times or with some ridges.

    Attributes:
        outputs: at the training points.
        test_outputs: at the test points.
        distance: |W - W0|, Frobenius.
    """

    outputs: Float[Array, "step n"]
    test_outputs: Float[Array, "step m"]
    distance: Float[Array, " step"]


@record(kw_only=True)
class Descent(Path):
    """A network at some iterations of its training.

    Attributes:
        w: the trained weights.
    """

    w: Float[Array, "step width d"]


@checked
def loss(outputs: Float[Array, "*s n"], y: Float[Array, " n"]) -> Float[Array, "*s n"]:
    """Returns (f - y)^2/2 of every point; their sum is what is minimised."""
    return jnp.square(outputs - jnp.broadcast_to(y, outputs.shape)) / 2


@checked
def decide(
    outputs: Float[Array, "*s n"], alphas: Float[Array, " c"]
) -> Int[Array, "*s n"]:
    """Returns the class whose target is nearest to each output."""
    shape = (*outputs.shape, len(alphas))
    off = jnp.broadcast_to(outputs[..., None], shape) - jnp.broadcast_to(alphas, shape)
    return jnp.abs(off).argmin(axis=-1)


@checked
@jax.jit
def step_size(
    network: TwoLayer, x: Float[Array, "n d"], ridge: Float[Array, ""] | float = 0.0
) -> Float[Array, ""]:
    """Returns 1/(sigma_1(J)^2 + ridge): half the largest stable one at the start.

    J is the Jacobian of the outputs at `x` by the trained weights. O(n^2 m + n^3).
    """
    if doors.concrete(ridge) and not 0 <= float(ridge) < math.inf:
        raise InputError(f"`ridge` must be finite and not negative, got {ridge}.")
    return 1 / (jnp.linalg.eigvalsh(network.jacobian_gram(x, x))[-1] + ridge)


@checked
def descend(
    network: TwoLayer,
    x: Float[Array, "n d"],
    y: Float[Array, " n"],
    x_test: Float[Array, "m d"],
    *,
    steps: Sequence[int] | Int[np.ndarray, " step"],
    rate: Float[Array, ""] | float,
    ridge: Float[Array, ""] | float = 0.0,
) -> Descent:
    """Trains the hidden weights of a network by gradient descent.

    One program whatever targets, rate, ridge and iterations, if there are as many of
    these. May be vmapped over networks, points, targets, rates and ridges. O(n m d) per
    iteration: n = 400, m = 1000, d = 20, relu, one core: 1.2 ms.

    Args:
        network: at its start W0, without biases.
        x: training points.
        y: targets.
        x_test: points where it is asked, too.
        steps: iterations at which it is recorded, ascending; 0 is the start.
        rate: constant step size; see `step_size`.
        ridge: weight of |W - W0|^2/2.

    Raises:
        InputError: unless `steps` ascend from 0 or later, and there are no biases.
    """
    at = np.asarray(steps)
    if at.ndim != 1 or not at.size or at[0] < 0 or (np.diff(at) <= 0).any():
        raise InputError(f"`steps` must ascend from 0 or later, got {tuple(steps)}.")
    if network.b is not None:
        raise InputError("`network` must have no biases, got some.")
    return _descend(network, x, y, x_test, np.diff(at, prepend=0), rate, ridge)


@jax.jit
def _descend(network, x, y, x_test, counts, rate, ridge) -> Descent:
    def objective(w):
        fit = loss(network.moved(w, None)(x), y).sum()
        return fit + ridge / 2 * jnp.square(w - network.w).sum()

    def step(_, w):
        return w - jnp.asarray(rate, w.dtype) * jax.grad(objective)(w)

    def record_after(w, count):
        w = jax.lax.fori_loop(0, count, step, w)
        now = network.moved(w, None)
        distance = jnp.linalg.norm(w - network.w)
        return w, Descent(
            outputs=now(x), test_outputs=now(x_test), distance=distance, w=w
        )

    return jax.lax.scan(record_after, network.w, counts)[1]


@record(kw_only=True)
class Linearised:
    """A network to first order around its start.

    Attributes:
        kernel: between the training points, J J^T.
        rows: between test and training points.
        start: outputs at the training points before training.
        test_start: outputs at the test points before training.
    """

    kernel: Float[Array, "n n"]
    rows: Float[Array, "m n"]
    start: Float[Array, " n"]
    test_start: Float[Array, " m"]

    def astype(self, dtype) -> "Linearised":
        """Returns it in `dtype`."""
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return Linearised(**{name: part.astype(dtype) for name, part in parts.items()})


@checked
@jax.jit
def at_start(
    network: TwoLayer, x: Float[Array, "n d"], x_test: Float[Array, "m d"]
) -> Linearised:
    """Returns a network to first order, with its own kernel."""
    return Linearised(
        kernel=network.jacobian_gram(x, x),
        rows=network.jacobian_gram(x_test, x),
        start=network(x),
        test_start=network(x_test),
    )


@checked(infinite=("times",))
@jax.jit
def flow(
    model: Linearised, y: Float[Array, " n"], times: Float[Array, " step"]
) -> Path:
    """Gradient flow on the loss at every time, docs/theory/two_layer.md (C2). O(n^3).

    Training leaves e^{-kernel t} of what the start missed of the targets, and
    |W - W0|^2 is the quadratic form of the kernel in the dual weights.
    """
    return _respond(model, y, lambda values: solve.flow_weights(values, times[:, None]))


@checked
@jax.jit
def regress(
    model: Linearised, y: Float[Array, " n"], ridges: Float[Array, " step"]
) -> Path:
    """What training to the end with every ridge comes to. Cost as `flow`."""
    return _respond(model, y, lambda values: 1 / (values + ridges[:, None]))


def _respond(model: Linearised, y, weights_at) -> Path:
    values, vectors = jnp.linalg.eigh(model.kernel)
    weights = weights_at(values[None, :])
    missed = ((y - model.start) @ vectors)[None, :]
    dual = (weights * missed) @ vectors.T
    squared = (jnp.square(weights * missed) * values[None, :]).sum(axis=1)
    return Path(
        outputs=model.start[None] + dual @ model.kernel,
        test_outputs=model.test_start[None] + dual @ model.rows.T,
        # rounding makes eigenvalues of zero negative, by far less than the sum
        distance=jnp.sqrt(jnp.maximum(squared, 0.0)),
    )
