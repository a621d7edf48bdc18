"""The two networks of one point and repeat of `adversarial_learning`."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from experiments.perturbations import settings as plan
from ntk_corrupt.adversarial import attacks, descent
from ntk_corrupt.adversarial.attacks import Attack
from ntk_corrupt.adversarial.protocol import (
    Protocol,
    draw_targets,
    first,
    second,
    second_inputs,
)
from ntk_corrupt.adversarial.two_classes import TwoClasses
from ntk_corrupt.networks.two_layer import TwoLayer
from theory.keys import stream
from theory.two_layer import perturbations as closed


class Teacher(NamedTuple):
    """What does not depend on the targets: data, f at its rates, closed forms."""

    sample: TwoClasses
    f: TwoLayer
    taught: Array
    points: Array
    hat_f: Array


# what decides f
_OF_F = (
    *("seed", "dataset", "n", "n_test", "m", "slope", "steps_f", "loss", "rates_f"),
    *("d", "classes", "size"),
)


def _hashable(value):
    return tuple(value) if isinstance(value, list) else value


def _teacher(settings: Mapping[str, Any], repeat: int, data_dir) -> Teacher:
    chosen = tuple(
        (name, _hashable(settings[name])) for name in _OF_F if name in settings
    )
    return _trained(chosen, repeat, data_dir, jnp.zeros(()).dtype.name)


@functools.lru_cache(maxsize=6)
def _trained(chosen, repeat, data_dir, _dtype) -> Teacher:
    settings = dict(chosen)
    sample = plan.sample(settings, repeat, data_dir)
    net = start(settings, repeat, "f", settings["m"], sample)
    f = first(
        _protocol({**settings, "steps_g": 1, "rates_g": (), "scenario": "alone"}),
        net,
        sample,
    )
    x, y, x_test = (part.astype(float) for part in (sample.x, sample.y, sample.x_test))
    slope = settings["slope"]
    taught = closed.directions(x, x, y, slope)
    tested = closed.first_output(x_test, x, y, slope)
    return Teacher(
        sample=sample,
        f=f,
        taught=taught,
        points=jnp.concatenate([x, x_test]),
        hat_f=jnp.concatenate([(taught * x).sum(axis=1), tested]),
    )


def start(
    settings: Mapping[str, Any], repeat: int, name: str, m: int, sample: TwoClasses
) -> TwoLayer:
    """Returns f or g as initialised."""
    key = stream(plan.repeat_key(settings, repeat), name)
    d = sample.x.shape[1]
    return descent.network(d, m, settings["slope"], key=key)


def _protocol(settings: Mapping[str, Any]) -> Protocol:
    rates = lambda name: jnp.asarray(settings[name], jnp.float32)
    return Protocol(
        steps_f=settings["steps_f"],
        steps_g=settings["steps_g"],
        rates_f=rates("rates_f"),
        rates_g=rates("rates_g"),
        scenario=settings["scenario"],
        loss=settings["loss"],
        # as the source has it; the loss "identity" never falls short of falling
        plateau=settings["loss"] != "identity",
    )


class Pair(NamedTuple):
    """Both networks of a repeat, and what g is trained on."""

    teacher: Teacher
    r: Array
    stuck: Array
    inputs: Array
    targets: Array
    g: TwoLayer


def learn(settings: Mapping[str, Any], repeat: int, data_dir: str | None) -> Pair:
    """Returns both networks; f is kept for the next point that shares it."""
    teacher = _teacher(settings, repeat, data_dir)
    sample, protocol = teacher.sample, _protocol(settings)
    key = stream(plan.repeat_key(settings, repeat), "targets")
    targets = draw_targets(sample.y, settings["targets"], key=key)
    attack = Attack(
        eps=settings["eps"], norm=settings["norm"], steps=settings["attack_steps"]
    )
    if settings["direction"] == "gradient":
        r, stuck = attacks.perturb_each(teacher.f, sample.x, targets, attack)
    else:
        signed = sample.y[:, None] * sample.x
        if settings["direction"] == "oracle":
            # on orthogonal inputs these are the multipliers of the widest margin
            square = (sample.x**2).sum(axis=1, keepdims=True)
            signed = signed / jnp.where(square > 0, square, 1.0)
        along = jnp.broadcast_to(signed.mean(axis=0)[None], sample.x.shape)
        if settings["direction"] == "kernel":
            along = teacher.taught.astype(jnp.float32)
        one = attacks.along(along, targets, attack)
        count = len(settings["rates_f"])
        r, stuck = (jnp.stack([part] * count) for part in one)
    inputs = second_inputs(protocol, sample.x, r)
    net = start(settings, repeat, "g", settings["m_g"], sample)
    g = second(protocol, net, inputs, targets)
    return Pair(teacher, r, stuck, inputs, targets, g)
