"""Cells of learning from perturbations: what each computes, and its cost."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.harness.run_directory import Cell, Row
from experiments.perturbations import conditions
from experiments.perturbations import settings as plan
from experiments.perturbations.pairs import learn
from experiments.perturbations.settings import AdversarialLearning, PointSettings
from ntk_corrupt.adversarial import attacks, descent, protocol
from theory.two_layer import perturbations as closed

_SAMPLES, _POINTS = 100_000, 30


def cells(config: AdversarialLearning) -> list[Cell]:
    """One cell per point of the panels, one for the maps, one for Phi."""
    points = plan.panels(config)
    # those that share a network f one after the other: it is kept
    order = ("variants", "eps", "steps_g", *plan.PANELS)
    asked = [
        Cell({"kind": "point", **settings})
        for panel in order
        for _, settings in points.get(panel, ())
    ]
    at = plan.base(config)
    if config.map_points:
        size = {"points": config.map_points, "limit": config.map_limit}
        asked.append(Cell({"kind": "map", **at, **size}))
    names = ("seed", "slope", "repeats")
    # d is in Phi through mean products alone: there is no need for many inputs
    phi = {"kind": "phi", "inputs": min(100, plan.inputs(config))}
    return [*asked, Cell({**phi, **{name: at[name] for name in names}})]


def _of_repeat(settings: Mapping[str, Any], repeat: int, data_dir) -> dict[str, Any]:
    pair = learn(settings, repeat, data_dir)
    teacher, n = pair.teacher, settings["n"]
    sample, slope = teacher.sample, settings["slope"]
    found = protocol.scores(teacher.f, pair.g, sample)._asdict()
    moved = teacher.taught.astype(jnp.float32)
    found["stuck"] = pair.stuck / n
    found["cosine"] = attacks.mean_cosine(pair.r, moved)
    if settings["loss"] == "identity":
        times = [
            closed.heavy_ball_time(rate, settings["steps_f"])
            for rate in settings["rates_f"]
        ]
        found["cosine_predicted"] = jnp.stack(
            [closed.alignment(teacher.taught, time, slope).mean() for time in times]
        )
    f = descent.outputs(teacher.f, sample.x_test)
    g = descent.outputs(pair.g, sample.x_test)
    found["hat_f_agrees"] = _agree(teacher.hat_f[n:], f)
    hats, lines = [], []
    for inputs in pair.inputs:  # one for each rate of f
        inputs = inputs.astype(float)
        hats.append(closed.second_output(teacher.points, inputs, teacher.taught, slope))
        targets = pair.targets.astype(float)
        lines.append(closed.linear_output(teacher.points[n:], inputs, targets, slope))
    hat_g = jnp.stack(hats)
    found["hat_f_acc"] = _agree(teacher.hat_f[:n], sample.y)
    found["hat_g_acc"] = _agree(hat_g[:, :n], sample.y[None])
    found["hat_g_agrees"] = _agree(hat_g[:, None, n:], g)
    found["linear_g_agrees"] = _agree(jnp.stack(lines)[:, None], g)
    found |= conditions.evaluated(settings, repeat, pair)
    return {name: np.asarray(values, float).tolist() for name, values in found.items()}


@jax.jit
def _agree(one: Array, two: Array) -> Array:
    one, two = jnp.broadcast_arrays(
        *(jnp.expand_dims(of, tuple(range(max(one.ndim, two.ndim) - of.ndim)))
          for of in (one, two))
    )  # fmt: skip
    return protocol.agreement(one, two.astype(one.dtype))


def _map(settings: Mapping[str, Any], data_dir) -> tuple[Row, dict[str, np.ndarray]]:
    """Decisions of networks and closed forms in the plane of the class means."""
    pair = learn(settings, 0, data_dir)
    sample, slope = pair.teacher.sample, settings["slope"]
    projected, labels = np.asarray(sample.x, float), np.asarray(sample.y)
    means = np.stack([projected[labels == sign].mean(axis=0) for sign in (1, -1)])
    axes = np.linalg.qr(means.T)[0].T  # orthonormal, the first along the first mean
    axes = axes * np.sign((axes * means).sum(axis=1, keepdims=True))
    ticks = np.linspace(-settings["limit"], settings["limit"], settings["points"])
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    z = jnp.asarray(grid @ axes)
    x, y = sample.x.astype(float), sample.y.astype(float)
    inputs = pair.inputs[0].astype(float)
    side = (settings["points"],) * 2
    first = jax.tree.map(lambda part: part[0], (pair.teacher.f, pair.g))
    first = (first[0], jax.tree.map(lambda part: part[0], first[1]))
    arrays = {
        "hat_f": closed.first_output(z, x, y, slope),
        "hat_g": closed.second_output(z, inputs, pair.teacher.taught, slope),
        "f": first[0](z.astype(jnp.float32)),
        "g": first[1](z.astype(jnp.float32)),
    }
    arrays = {name: np.asarray(of).reshape(side) for name, of in arrays.items()}
    share = lambda a, b: float((np.sign(arrays[a]) == np.sign(arrays[b])).mean())
    pairs = (("f", "g"), ("hat_f", "f"), ("hat_g", "g"))
    row: Row = {f"{a} as {b}": share(a, b) for a, b in pairs}
    arrays |= {"projected": projected @ axes.T, "y": labels}
    return row, arrays


def _phi(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Largest error of the closed Phi against samples, over pairs of Gaussian points.

    Of pairs of different points, and of each with itself.
    """
    errors, d = [], settings["inputs"]
    for repeat in range(settings["repeats"]):
        rng = np.random.default_rng((settings["seed"], repeat, 1))
        x = rng.standard_normal((_POINTS, d))
        v = rng.standard_normal((_SAMPLES, d)) / d**0.5
        u = v @ x.T + rng.standard_normal((_SAMPLES, 1))
        slopes = np.where(u > 0, 1.0, settings["slope"])
        sampled = slopes.T @ slopes / _SAMPLES
        points = jnp.asarray(x)
        found = closed.slope_kernel(points, points, settings["slope"])
        errors.append(float(np.abs(np.asarray(found) - sampled).max()))
    return {"phi_error": errors}


def compute(
    config: AdversarialLearning, cell: Cell
) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell: lists over repeats, or maps of the first repeat."""
    settings: PointSettings = dict(cell.settings)
    if settings["kind"] == "phi":
        return _phi(settings), {}
    if settings["kind"] == "map":
        return _map(settings, config.data_dir)
    found = [
        _of_repeat(settings, repeat, config.data_dir)
        for repeat in range(settings["repeats"])
    ]
    row: Row = {name: [each[name] for each in found] for name in found[0]}
    return row, {name: np.asarray(values, float) for name, values in row.items()}


def estimate(config: AdversarialLearning, cell: Cell) -> float:
    """Returns a rough number of seconds on one busy core."""
    settings = cell.settings
    if settings["kind"] == "phi":
        return settings["repeats"] * settings["inputs"] * _SAMPLES * 6e-9
    d, n = plan.inputs(config) if "d" not in settings else settings["d"], settings["n"]
    steps = len(settings["rates_f"]) * (
        settings["steps_f"] / 3 + len(settings["rates_g"]) * settings["steps_g"]
    )
    repeats = 1 if settings["kind"] == "map" else settings["repeats"]
    steps += settings["attack_steps"]
    per_step = n * settings["m"] * (4 * d * 4e-11 + 1e-8)
    theory = (n + settings["n_test"]) * n * (d * 4e-10 + 4e-8)
    return 1 + repeats * (steps * per_step + len(settings["rates_f"]) * theory)
