"""A network that learns from the adversarial perturbations of another one alone.

f is trained on (x_n, y_n). Every input gets a target y'_n that says nothing of its
class, and a perturbation r_n that moves f towards it. g, with an initialisation of its
own, is trained on the targets, and never sees a label or, in the scenario "alone",
an input:

    alone   (r_n, y'_n)            added   (x_n + r_n, y'_n)

Kumano, Kera & Yamasaki 2024, arXiv:2410.23677.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ntk_corrupt.adversarial.descent import outputs, train_at_rates, train_on_each
from ntk_corrupt.adversarial.two_classes import TwoClasses
from ntk_corrupt.networks.two_layer import TwoLayer
from theory.errors import unknown
from theory.numerics.signatures import checked
from theory.records import record, static

SCENARIOS = ("alone", "added")
TARGETS = {
    "balanced": "as many 1 as -1",
    "stratified": "as many 1 as -1 in each class",
    "iid": "each by itself",
    "wrong": "the other class",
}


@checked
def draw_targets(y: Float[Array, " n"], kind: str, *, key: Array) -> Float[Array, " n"]:
    """Returns targets -1 or 1, independent of the inputs unless they are "wrong".

    Balanced and stratified ones are so up to one target. Others than stratified ones
    agree with the labels a little by chance, which g can learn from inputs.

    Args:
        y: labels.
        kind: a name of `TARGETS`.
        key: of the draw.
    """
    if kind not in TARGETS:
        raise unknown("targets", kind, TARGETS)
    return _targets(y, key, kind=kind)


@functools.partial(jax.jit, static_argnames="kind")
def _targets(y, key, *, kind):
    if kind == "wrong":
        return -y
    keys, n = jax.random.split(key), len(y)
    if kind == "iid":
        return jax.random.rademacher(keys[0], (n,), y.dtype)
    place = jax.random.uniform(keys[0], (n,), jnp.float32)
    order = jnp.lexsort((place, y)) if kind == "stratified" else jnp.argsort(place)
    signs = jnp.where(jnp.arange(n) % 2 == 0, 1.0, -1.0).astype(y.dtype)
    first = jax.random.rademacher(keys[1], (), y.dtype)  # whose is the odd one
    return jnp.zeros_like(y).at[order].set(first * signs)


@record(kw_only=True)
class Protocol:
    """How both networks are trained.

    Attributes:
        steps_f: steps of f, traced.
        steps_g: steps of g, traced.
        rates_f: learning rates of f, traced.
        rates_g: learning rates of g; every one is tried with every one of f.
        scenario: a name of `SCENARIOS`, static.
        loss: a name of `adversarial_training.LOSSES`, static.
        plateau: see `adversarial_training.train`, static.
    """

    steps_f: int
    steps_g: int
    rates_f: Float[Array, " F"]
    rates_g: Float[Array, " G"]
    scenario: str = static(default="alone")
    loss: str = static(default="identity")
    plateau: bool = static(default=False)


@checked
def first(protocol: Protocol, net: TwoLayer, sample: TwoClasses) -> TwoLayer:
    """Returns f at each of its rates, trained on inputs and labels."""
    return train_at_rates(
        net,
        sample.x,
        sample.y,
        protocol.rates_f,
        protocol.steps_f,
        loss=protocol.loss,
        plateau=protocol.plateau,
    )


@checked
def second_inputs(
    protocol: Protocol, x: Float[Array, "n d"], r: Float[Array, "F n d"]
) -> Float[Array, "F n d"]:
    """Returns what g is trained on."""
    if protocol.scenario not in SCENARIOS:
        raise unknown("scenario", protocol.scenario, SCENARIOS)
    return r if protocol.scenario == "alone" else x[None] + r


@checked
def second(
    protocol: Protocol,
    net: TwoLayer,
    inputs: Float[Array, "F n d"],
    targets: Float[Array, " n"],
) -> TwoLayer:
    """Returns g for each rate of f and of its own, trained on perturbed inputs."""
    return train_on_each(
        net,
        inputs,
        targets,
        protocol.rates_g,
        protocol.steps_g,
        loss=protocol.loss,
        plateau=protocol.plateau,
    )


class Scores(NamedTuple):
    """What f and g know, per rate of f (F,) and of g (F, G).

    NaN where an output is not finite. An output of exactly zero is no decision: it is
    wrong, and agrees with nothing but zero.

    Attributes:
        acc_f: accuracy of f on its training inputs.
        acc_g: accuracy of g on the training inputs of f, unperturbed, with the labels
            that g has never seen.
        test_f: accuracy of f on fresh inputs.
        test_g: accuracy of g on fresh inputs.
        agreement: share of fresh inputs that f and g decide alike.
    """

    acc_f: Float[Array, " F"]
    acc_g: Float[Array, "F G"]
    test_f: Float[Array, " F"]
    test_g: Float[Array, "F G"]
    agreement: Float[Array, "F G"]


@checked
def agreement(one: Float[Array, "*a n"], two: Float[Array, "*a n"]) -> Array:
    """Returns the share of the last axis where signs are equal; NaN if any is NaN."""
    finite = jnp.isfinite(one).all(axis=-1) & jnp.isfinite(two).all(axis=-1)
    return jnp.where(finite, (jnp.sign(one) == jnp.sign(two)).mean(axis=-1), jnp.nan)


@checked
@jax.jit
def scores(f: TwoLayer, g: TwoLayer, sample: TwoClasses) -> Scores:
    """Returns accuracies and agreement of networks (F,) and (F, G)."""
    n = len(sample.y)
    x = jnp.concatenate([sample.x, sample.x_test])
    of_f, of_g = outputs(f, x), outputs(g, x)
    right = lambda of, y: agreement(of, jnp.broadcast_to(y, of.shape))
    return Scores(
        acc_f=right(of_f[:, :n], sample.y),
        acc_g=right(of_g[..., :n], sample.y),
        test_f=right(of_f[:, n:], sample.y_test),
        test_g=right(of_g[..., n:], sample.y_test),
        agreement=right(of_g[..., n:], of_f[:, None, n:]),
    )
