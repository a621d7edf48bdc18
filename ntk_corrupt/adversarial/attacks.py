"""Perturbations that move a network of one output towards targets -1 and 1.

All losses of `descent` fall with y f, so the normalised gradient of the
loss towards y' is that of -y' f, which does not fade where the logistic loss is
saturated. Inputs have no range that they must keep.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ntk_corrupt.networks.two_layer import TwoLayer
from theory.errors import InputError, unknown
from theory.numerics import doors
from theory.numerics.signatures import checked
from theory.records import record, static

NORMS = ("l2", "linf")


@checked
def unit(direction: Float[Array, "n d"], norm: str) -> Float[Array, "n d"]:
    """Returns the steepest steps of length one, zero where there is no direction.

    Args:
        direction: gradients, of any size down to the smallest floats.
        norm: "l2" (the direction itself) or "linf" (its signs).
    """
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    if norm == "linf":
        return jnp.sign(direction)
    largest = jnp.abs(direction).max(axis=1, keepdims=True)
    there = largest > 0
    # divided first: squares of small gradients are zero
    scaled = direction / jnp.where(there, largest, 1.0)
    length = jnp.linalg.norm(scaled, axis=1, keepdims=True)
    return jnp.where(there, scaled / jnp.where(there, length, 1.0), 0.0)


@checked
def project(
    r: Float[Array, "n d"], eps: Float[Array, ""] | float, norm: str
) -> Float[Array, "n d"]:
    """Returns the nearest perturbations of at most `eps` in the norm."""
    known = doors.real("eps", eps)
    if known is not None and not known >= 0:
        raise InputError(f"`eps` must not be negative, got {known}.")
    if norm == "linf":
        return jnp.clip(r, -eps, eps)
    length = jnp.linalg.norm(r, axis=1, keepdims=True)
    return jnp.where(length > eps, eps * unit(r, norm), r)


@record(kw_only=True)
class Attack:
    """How inputs are perturbed.

    Attributes:
        eps: length of a perturbation in the norm, traced.
        norm: a name of `NORMS`, static.
        steps: gradients taken, static. One goes all the way; several go 2.5 eps/steps
            each and are brought back into the ball after each.
    """

    eps: Float[Array, ""] | float
    norm: str = static(default="l2")
    steps: int = static(default=1)


class Perturbed(NamedTuple):
    """Perturbations, and for how many inputs there is none.

    Attributes:
        r: zero where the gradient is.
        stuck: inputs whose gradient is exactly zero, as where no unit is active.
    """

    r: Float[Array, "n d"]
    stuck: Int[Array, ""]


@checked
def perturb(
    net: TwoLayer,
    x: Float[Array, "n d"],
    targets: Float[Array, " n"],
    attack: Attack,
) -> Perturbed:
    """Returns perturbations of the inputs that move the network towards the targets."""

    def gradient(at):
        outputs, back = jax.vjp(net, at)
        return back(targets.astype(outputs.dtype))[0]

    first = gradient(x)
    stuck = (first == 0).all(axis=1).sum()
    if attack.steps == 1:
        return Perturbed(attack.eps * unit(first, attack.norm), stuck)
    length = 2.5 * attack.eps / attack.steps

    def step(r, _):
        r = r + length * unit(gradient(x + r), attack.norm)
        return project(r, attack.eps, attack.norm), None

    r, _ = jax.lax.scan(step, jnp.zeros_like(x), length=attack.steps)
    return Perturbed(r, stuck)


@checked
def along(
    directions: Float[Array, "n d"], targets: Float[Array, " n"], attack: Attack
) -> Perturbed:
    """Returns perturbations along given directions, times the targets: no network."""
    r = attack.eps * unit(targets[:, None] * directions, attack.norm)
    return Perturbed(r, (directions == 0).all(axis=1).sum())


@checked
@jax.jit
def perturb_each(
    nets: TwoLayer,
    x: Float[Array, "n d"],
    targets: Float[Array, " n"],
    attack: Attack,
) -> Perturbed:
    """Returns perturbations for each of several networks, on an axis in front."""
    return jax.lax.map(lambda net: perturb(net, x, targets, attack), nets)


@checked
@jax.jit
def mean_cosine(
    r: Float[Array, "F n d"], directions: Float[Array, "n d"]
) -> Float[Array, " F"]:
    """Returns the mean over inputs of |cos| of perturbations and given directions.

    Inputs without a perturbation count as zero.
    """
    along = unit(directions, "l2")

    def of(one):
        return jnp.abs((unit(one, "l2") * along).sum(axis=1)).mean()

    return jax.lax.map(of, r)
