"""What the closed forms of `adversarial_learning` take for granted, run by run.

The theorem of arXiv 2410.23677 says that f and g agree "under mild conditions"; its
statement is not in what we could read of it. What docs/theory/two_layer.md (P1)-(P5)
rest on can be evaluated: each condition is a number and the least that it must be.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.harness.run_directory import Row
from experiments.perturbations.pairs import Pair, start
from ntk_corrupt.adversarial.descent import MOMENTUM
from ntk_corrupt.networks.two_layer import TwoLayer
from theory.two_layer import perturbations as closed

# name in a row: (as the table calls it, the least at which it is met)
CONDITIONS = {
    "gradient_over_start": ("t|D|/start", 1.0),
    "output_over_start": ("t g/start", 1.0),
    "taught_share": ("taught share", 0.5),
    "sides_kept_f": ("sides f", 0.9),
    "sides_kept_g": ("sides g", 0.9),
}


@jax.jit
def sides_kept(
    before: TwoLayer, after: TwoLayer, x: Float[Array, "n d"]
) -> Float[Array, " nets"]:
    """Returns the share of (unit, input) whose slope is that of initialisation.

    Args:
        before: one network as initialised.
        after: several, on an axis in front.
        x: inputs.
    """
    side = lambda w, b: x @ w.T + b[None] > 0
    first = side(before.w, before.b)
    of = lambda trained: (side(*trained) == first).mean()
    return jax.lax.map(of, (after.w, after.b))


@functools.partial(jax.jit, static_argnames="time_g")
def _outputs(pair: Pair, slope: float, time_g: float):
    """Ratios of (P4) to the initialisation, and of its parts, at the first rates."""
    n = len(pair.targets)
    z, q = pair.teacher.points[n:], pair.inputs[0].astype(float)
    targets, r = pair.targets.astype(float), pair.r[0].astype(float)
    learned = closed.linear_output(z, q, targets, slope)
    taught = closed.second_output(z, q, targets[:, None] * r, slope)
    size = lambda values: jnp.sqrt((values**2).mean())
    # E phi(u)^2 of u ~ N(0, |z|^2/d + 1): the variance of an untrained output
    start = (1 + slope**2) / 2 * ((z**2).mean(axis=1) + 1)
    over_start = jnp.median(time_g * jnp.abs(learned) / jnp.sqrt(start))
    both = size(taught) + size(learned - taught)
    # nothing is learned without perturbations and with balanced targets
    share = jnp.where(both > 0, size(taught) / jnp.where(both > 0, both, 1.0), 0.0)
    return over_start, share


def evaluated(
    settings: Mapping[str, Any], repeat: int, pair: Pair
) -> dict[str, np.ndarray]:
    """Returns what conditions are about, of one repeat at the first rates.

    gradient_over_start: t|D(x_n)| over the root mean square gradient of an untrained
    network, (P5), the median over inputs. output_over_start: t (P4) over the standard
    deviation of the output of an untrained g, the median over fresh inputs.
    taught_share: a/(a + b) of the root mean squares over fresh inputs of the part of
    (P4) that perturbations write and of what inputs and biases add; zero of nothing.
    sides_kept_f, sides_kept_g: see `sides_kept`. The first two are of the loss -y f,
    whose slope is one; other losses have none. O(n n_test d).
    """
    sample, slope = pair.teacher.sample, settings["slope"]
    found: dict[str, Any] = {}
    for name, nets, m in (
        ("f", pair.teacher.f, settings["m"]),
        ("g", jax.tree.map(lambda part: part[0], pair.g), settings["m_g"]),
    ):
        before = start(settings, repeat, name, m, sample)
        found[f"sides_kept_{name}"] = sides_kept(before, nets, sample.x_test)[0]
    if settings["loss"] == "identity":
        time = lambda of: closed.heavy_ball_time(
            settings[f"rates_{of}"][0], settings[f"steps_{of}"], MOMENTUM
        )
        length = jnp.linalg.norm(pair.teacher.taught, axis=1)
        root = ((1 + slope**2) / 2) ** 0.5
        found["gradient_over_start"] = jnp.median(time("f") * length) / root
        over, share = _outputs(pair, slope, float(time("g")))
        found |= {"output_over_start": over, "taught_share": share}
    return {name: np.asarray(value, float) for name, value in found.items()}


def lines(points: Sequence[tuple[Any, Row]]) -> list[str]:
    """Returns a table: each number, by how much it is met, and whether all are."""
    points = [(value, row) for value, row in points if "sides_kept_f" in row]
    if not points:
        return []
    heads = "".join(
        f"{f'{said} >= {least:g}':>25}" for said, least in CONDITIONS.values()
    )
    found = [
        "",
        "conditions of the closed forms, mean over repeats (times what is required);",
        "source: arXiv 2410.23677 by docs/theory/two_layer.md (P1)-(P5); the constants "
        "are ours, the source's are not known here",
        f"{'':<18}{heads}  all met",
    ]
    for value, row in points:
        label = value if isinstance(value, str) else f"{value:g}"
        entries, met = "", []
        for name, (_, least) in CONDITIONS.items():
            if name not in row:
                entries += f"{'-':>25}"
                continue
            mean = float(np.mean(row[name]))
            met.append(mean >= least)
            by = f"{mean:.3g} (x {mean / least:.2g}{'' if met[-1] else ', NOT'})"
            entries += f"{by:>25}"
        found.append(f"{label:<18}{entries}  {'yes' if all(met) else 'no'}")
    return found
