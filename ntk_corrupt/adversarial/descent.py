"""Networks of one output trained on labels -1 and 1: full batch, momentum, plateaus.

    identity   mean_n -y_n f(x_n), whose gradient does not fade
    logistic   mean_n log(1 + exp(-y_n f(x_n)))
    exponential   mean_n exp(-y_n f(x_n)), whose gradient grows where it is wrong

Rates, steps and slopes are traced: a sweep over them compiles once. float32 throughout.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from optax import contrib

from ntk_corrupt.networks import two_layer
from ntk_corrupt.networks.two_layer import LeakyRelu, TwoLayer

# (n,) of y f to (n,)
LOSSES: dict[str, Callable[[Array], Array]] = {
    "identity": lambda margin: -margin,
    "logistic": lambda margin: jax.nn.softplus(-margin),
    "exponential": lambda margin: jnp.exp(-margin),
}
MOMENTUM = 0.9


@functools.partial(jax.jit, static_argnames=("d", "m"))
def network(d: int, m: int, slope: float | Array, *, key: Array) -> TwoLayer:
    """Returns a leaky rectifier network as `two_layer.gaussian` draws it, float32."""
    phi = LeakyRelu(slope=jnp.asarray(slope, jnp.float32))
    return two_layer.gaussian(phi, d, m, key=key)


def _optimiser(rate: Array, plateau: bool) -> optax.GradientTransformationExtraArgs:
    descent = optax.sgd(rate, momentum=MOMENTUM)
    if not plateau:
        return optax.with_extra_args_support(descent)
    return optax.chain(descent, contrib.reduce_on_plateau(factor=0.1, patience=10))


def train(
    net: TwoLayer,
    x: Float[Array, "n d"],
    y: Float[Array, " n"],
    rate: Float[Array, ""],
    steps: Int[Array, ""] | int,
    *,
    loss: str = "identity",
    plateau: bool = False,
) -> TwoLayer:
    """Returns a network after T steps on all examples at once; to be jitted.

    Args:
        net: as initialised.
        x: inputs.
        y: labels, -1 or 1.
        rate: of the descent, with momentum .9.
        steps: T; the loop ends there, and is not unrolled for each T.
        loss: a name of `LOSSES`.
        plateau: whether the rate falls to a tenth when the loss has not for 10 steps.
            With the loss "identity" it never does: there is no least value.
    """
    optimiser = _optimiser(jnp.asarray(rate, jnp.float32), plateau)

    def mean_loss(trained):
        return LOSSES[loss](y * net.moved(*trained)(x)).mean()

    def step(_, carry):
        trained, state = carry
        value, slopes = jax.value_and_grad(mean_loss)(trained)
        updates, state = optimiser.update(slopes, state, trained, value=value)
        return optax.apply_updates(trained, updates), state

    assert net.b is not None  # of `network`
    start = (net.w, net.b)
    # a loop of traced length, where a scan would compile anew for each number of steps
    trained, _ = jax.lax.fori_loop(0, steps, step, (start, optimiser.init(start)))
    return net.moved(*trained)


@functools.partial(jax.jit, static_argnames=("loss", "plateau"))
def train_at_rates(
    net: TwoLayer,
    x: Float[Array, "n d"],
    y: Float[Array, " n"],
    rates: Float[Array, " r"],
    steps: Int[Array, ""] | int,
    *,
    loss: str = "identity",
    plateau: bool = False,
) -> TwoLayer:
    """Returns one network trained at each of several rates, on an axis in front."""
    of = functools.partial(train, loss=loss, plateau=plateau)
    by_rate = jax.vmap(of, in_axes=(None, None, None, 0, None))
    return by_rate(net, x, y, rates, steps)


@functools.partial(jax.jit, static_argnames=("loss", "plateau"))
def train_on_each(
    net: TwoLayer,
    x: Float[Array, "s n d"],
    y: Float[Array, " n"],
    rates: Float[Array, " r"],
    steps: Int[Array, ""] | int,
    *,
    loss: str = "identity",
    plateau: bool = False,
) -> TwoLayer:
    """Returns networks for s sets of inputs and r rates, on axes (s, r) in front.

    One set after the other; the labels and the initialisation are the same for all.
    """
    return jax.lax.map(
        lambda one: train_at_rates(
            net, one, y, rates, steps, loss=loss, plateau=plateau
        ),
        x,
    )


@jax.jit
def outputs(nets: TwoLayer, x: Float[Array, "n d"]) -> Float[Array, "*nets n"]:
    """Returns the outputs of networks with any axes in front."""
    of = lambda net: net(x)
    for _ in nets.a.shape[:-1]:
        of = jax.vmap(of)
    return of(nets)
