"""Bernoulli restricted Boltzmann machines, trained by contrastive divergence.

With d visible units v and h hidden ones, W of shape (h, d), an RBM is the law

    p(v, h) = exp(b.v + c.h + h.W v) / Z,    v, h binary,

of which P(h = 1 | v) = sigmoid(c + W v), P(v = 1 | h) = sigmoid(b + h W), and
log p(v) = -F(v) - log Z, with the free energy F(v) = -b.v - sum_j softplus(c + W v)_j.
Where data enter, pixels between 0 and 1 stand in for binary ones, as in scikit-learn.

References: Hinton 2002, Neural Computation 14:1771 (contrastive divergence, CD-k);
Tieleman 2008, ICML (persistent chains).
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Shaped

from theory.errors import InputError, NumericalError, check_count
from theory.numerics import doors, memory
from theory.numerics.signatures import checked
from theory.records import record

# Training images, evenly spaced, whose pseudo-likelihood is followed.
_FOLLOWED = 100
_MOST_ENUMERATED = 12


@record(kw_only=True)
class Rbm:
    """The parameters of a machine; also a gradient with respect to them.

    Attributes:
        weights: W.
        hidden_bias: c.
        visible_bias: b.
    """

    weights: Float[Array, "h d"]
    hidden_bias: Float[Array, " h"]
    visible_bias: Float[Array, " d"]


def _field(rbm: Rbm, v: Array) -> Array:
    d = rbm.weights.shape[1]
    if v.shape[1] != d or not v.size:
        raise InputError(f"`v` must be images of {d} pixels, got shape {v.shape}.")
    return v.astype(rbm.weights.dtype) @ rbm.weights.T + rbm.hidden_bias[None]


@checked
def hidden(rbm: Rbm, v: Shaped[Array, "n d"]) -> Float[Array, "n h"]:
    """Returns P(h = 1 | v) = sigmoid(c + W v), the representation of each image."""
    return jax.nn.sigmoid(_field(rbm, v))


@checked
def visible(rbm: Rbm, h: Float[Array, "n h"]) -> Float[Array, "n d"]:
    """Returns P(v = 1 | h) = sigmoid(b + h W)."""
    return jax.nn.sigmoid(h @ rbm.weights + rbm.visible_bias[None])


@checked
def free_energy(rbm: Rbm, v: Shaped[Array, "n d"]) -> Float[Array, " n"]:
    """Returns F(v) = -log sum_h exp(b.v + c.h + h.W v)."""
    softplus = jax.nn.softplus(_field(rbm, v)).sum(axis=1)
    return -v @ rbm.visible_bias - softplus


@checked
def log_partition(rbm: Rbm) -> Float[Array, ""]:
    """Returns log Z, summed over all 2^h hidden states.

    Raises:
        InputError: more than 12 hidden units.
    """
    h = rbm.weights.shape[0]
    if h > _MOST_ENUMERATED:
        raise InputError(
            f"`rbm` must have at most {_MOST_ENUMERATED} hidden units for its log Z, "
            f"got {h}."
        )
    states = (np.arange(2**h)[:, None] >> np.arange(h)[None]) & 1
    states = jnp.asarray(states, rbm.weights.dtype)
    fields = states @ rbm.weights + rbm.visible_bias[None]
    return logsumexp(states @ rbm.hidden_bias + jax.nn.softplus(fields).sum(axis=1))


@checked
def log_likelihood(rbm: Rbm, v: Shaped[Array, "n d"]) -> Float[Array, " n"]:
    """Returns log p(v) in nats, by `log_partition`."""
    return -free_energy(rbm, v) - log_partition(rbm)


@checked
def pseudo_likelihood(rbm: Rbm, v: Shaped[Array, "n d"]) -> Float[Array, " n"]:
    """Returns sum_i log P(v_i | all other pixels), in nats; needs no Z.

    A grey pixel is set against its negative 1 - v_i, as in scikit-learn, which draws
    one pixel of each image where this sums over all. Cost: O(n d h).
    """
    field = _field(rbm, v)
    total = jax.nn.softplus(field).sum(axis=1)

    def of_pixel(pixel):
        values, weights, bias = pixel
        change = 1 - 2 * values
        flipped = field + change[:, None] * weights[None]
        rise = total - bias * change - jax.nn.softplus(flipped).sum(axis=1)
        return jax.nn.log_sigmoid(rise)  # of the free energy

    pixels = (v.T, rbm.weights.T, rbm.visible_bias)
    return jax.lax.map(of_pixel, pixels).sum(axis=0)


def followed(rbm: Rbm, x: Float[Array, "n d"]) -> Float[Array, ""]:
    """Returns the mean `pseudo_likelihood` of 100 evenly spaced images."""
    few = x[:: max(1, x.shape[0] // _FOLLOWED)][:_FOLLOWED]
    return pseudo_likelihood(rbm, few).mean()


def _bernoulli(key: Array, mean: Array) -> Array:
    return (jax.random.uniform(key, mean.shape, jnp.float32) < mean).astype(mean.dtype)


@checked
def cd_gradient(
    key: Array,
    rbm: Rbm,
    v: Float[Array, "n d"],
    k: int,
    chain: Float[Array, "n h"] | None = None,
) -> tuple[Rbm, Float[Array, "n h"]]:
    """Estimates the gradient of the mean log likelihood by k steps of Gibbs sampling.

    The estimate is biased unless the chains start from the machine's own law; the bias
    falls with k as fast as they forget their start.

    Args:
        key: a typed key; consumed.
        rbm: the machine.
        v: images, in [0, 1].
        k: steps, >= 1.
        chain: binary hidden states that the chains start from; None starts them at the
            images.

    Returns:
        The gradient, and the hidden states where the chains end.
    """
    start_key, key = jax.random.split(key)
    positive = hidden(rbm, v)
    if chain is None:
        chain = _bernoulli(start_key, positive)

    def gibbs(state, key):
        v_key, h_key = jax.random.split(key)
        v = _bernoulli(v_key, visible(rbm, state[0]))
        mean = hidden(rbm, v)
        return (_bernoulli(h_key, mean), v, mean), None

    (chain, fantasy, negative), _ = jax.lax.scan(
        gibbs, (chain, v, positive), jax.random.split(key, k)
    )
    n = v.shape[0]
    gradient = Rbm(
        weights=(positive.T @ v - negative.T @ fantasy) / n,
        hidden_bias=(positive - negative).mean(axis=0),
        visible_bias=(v - fantasy).mean(axis=0),
    )
    return gradient, chain


@functools.partial(jax.jit, static_argnames=("k", "batch_size", "persistent"))
def _epoch(rbm, chain, x, key, learning_rate, *, k, batch_size, persistent):
    n = x.shape[0]
    steps = n // batch_size
    order_key, noise_key = jax.random.split(key)
    # What does not fill a batch is left out: other images in every epoch.
    order = jax.random.permutation(order_key, n)[: steps * batch_size]

    def step(carry, batch):
        rbm, chain = carry
        rows, key = batch
        gradient, ends = cd_gradient(
            key, rbm, x[rows], k, chain if persistent else None
        )
        rbm = jax.tree.map(lambda part, g: part + learning_rate * g, rbm, gradient)
        return (rbm, ends), None

    batches = (order.reshape(steps, batch_size), jax.random.split(noise_key, steps))
    (rbm, chain), _ = jax.lax.scan(step, (rbm, chain), batches)
    return rbm, chain, followed(rbm, x)


def check_pixels(x: Shaped[Array | np.ndarray, "n d"]) -> None:
    """Raises `InputError` unless all pixels are in [0, 1]. Host only."""
    x = np.asarray(x)
    if not ((x >= 0) & (x <= 1)).all():  # NaN fails too
        raise InputError(
            f"`x` must be pixels in [0, 1], got [{x.min():.3g}, {x.max():.3g}]: use "
            "normalise='unit', and noise in [0, 1]."
        )


def check_finite(rbm: Rbm, learning_rate: float) -> None:
    """Raises `NumericalError` if training with this rate diverged. Host only."""
    if not all(bool(jnp.isfinite(part).all()) for part in jax.tree.leaves(rbm)):
        raise NumericalError(
            "training of the Boltzmann machine diverged: lower `learning_rate`, now "
            f"{learning_rate:g}."
        )


@checked
def fit(
    key: Array,
    x: Shaped[Array, "n d"],
    *,
    components: int,
    k: int,
    learning_rate: float,
    batch_size: int,
    epochs: int,
    persistent: bool = False,
) -> tuple[Rbm, np.ndarray]:
    """Trains a machine by stochastic ascent along `cd_gradient`.

    Weights start normal with standard deviation .01, biases at 0, as in scikit-learn. A
    rate that is too large leaves parameters finite and ruins the pseudo-likelihood.

    Args:
        key: a typed key; consumed.
        x: images, in [0, 1]; the machine has their dtype, if they have a floating one.
        components: hidden units.
        k: steps of Gibbs sampling for each update.
        learning_rate: of updates by the mean over a batch.
        batch_size: images for each update, at most n of them.
        epochs: passes over the images.
        persistent: chains go on from update to update, from hidden states 0, instead of
            starting at the images.

    Returns:
        The machine, and `followed` after every epoch, (epochs,).

    Raises:
        InputError: for arguments that make no sense.
        NumericalError: if a parameter is not finite.
    """
    check_pixels(x)
    x = doors.array("x", x, "(n, d)")
    counts = {"components": components, "k": k, "batch_size": batch_size}
    for name, value in {**counts, "epochs": epochs}.items():
        check_count(name, value)
    if not 0 < learning_rate < math.inf:
        raise InputError(f"`learning_rate` must be positive, got {learning_rate}.")
    n, d = x.shape
    memory.check_memory(
        x.dtype.itemsize * 4 * components * (d + batch_size),
        f"a machine of {components} components",
        "use fewer `components`, or a smaller `batch_size`",
    )
    batch_size = min(batch_size, n)
    init_key, key = jax.random.split(key)
    weights = 0.01 * jax.random.normal(init_key, (components, d), jnp.float32)
    rbm = Rbm(
        weights=weights.astype(x.dtype),
        hidden_bias=jnp.zeros(components, x.dtype),
        visible_bias=jnp.zeros(d, x.dtype),
    )
    chain, found = jnp.zeros((batch_size, components), x.dtype), []
    settings = {"k": k, "batch_size": batch_size, "persistent": persistent}
    for epoch in range(epochs):
        epoch_key = jax.random.fold_in(key, epoch)
        rbm, chain, value = _epoch(rbm, chain, x, epoch_key, learning_rate, **settings)
        check_finite(rbm, learning_rate)
        found.append(float(value))
    return rbm, np.array(found)
