"""Accuracy curves of many activations: settings, cells, table, figure."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from experiments.harness.flags import fixed, setting
from experiments.harness.run_directory import Cell, Row, RunDirectory
from experiments.shared import corruptions, settings, tables
from experiments.shared import routes as shared_routes
from experiments.shared.reference import read, report
from experiments.shared.rows import matching, pool
from ntk_corrupt import plots

_ALL = ("erf", "tanh", "gelu", "swish", "relu", "leaky_relu", "sin")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Activations(shared_routes.Routes):
    """Settings of the experiment."""

    activations: tuple[str, ...] = setting(_ALL, "between layers, one after the other")
    activation: str = fixed("")
    p: tuple[float, ...] = setting((0.9, 0.95, 0.97, 0.99), "corruption levels")
    routes: tuple[str, ...] = setting(
        ("resummed", "network"), f"any of {', '.join(shared_routes.ROUTES)}"
    )
    corruption: str = setting("additive", f"one of {', '.join(corruptions.KINDS)}")
    noise: str = setting(
        "normal", f"law of a noise pixel: {', '.join(corruptions.NOISES)}"
    )
    size: int | None = setting(
        28, "side in pixels to resize the images to; or none", most=1024
    )
    draws: int = setting(8, "corruption draws per subset")
    inits: int = setting(1, "networks per draw")


def _each(config: Activations) -> list[Activations]:
    return [dataclasses.replace(config, activation=a) for a in config.activations]


def check(config: Activations) -> None:
    """Raises `InputError` on bad settings."""
    for each in _each(config):
        shared_routes.check(each)


def cells(config: Activations) -> list[Cell]:
    """One cell per activation, route, level and training subset."""
    return [cell for each in _each(config) for cell in shared_routes.cells(each)]


def _groups(rows: Sequence[Row]) -> dict[tuple[str, float, str], list[Row]]:
    """Rows by activation, level and route, in the order of the rows."""
    found: dict[tuple[str, float, str], list[Row]] = {}
    for row in rows:
        at = row["activation"], row["p"], row["route"]
        found.setdefault(at, []).append(row)
    return found


def ordered_alike(
    predicted: dict[str, float], measured: dict[str, tuple[float, float]]
) -> tuple[int, int]:
    """Counts pairs that are apart by two standard errors, and those ordered alike.

    Args:
        predicted: accuracy by activation.
        measured: accuracy and standard error by activation.

    Returns:
        How many of the pairs are predicted in the order measured, and of how many.
    """
    alike = apart = 0
    for one, two in itertools.combinations(sorted(set(predicted) & set(measured)), 2):
        gap = measured[one][0] - measured[two][0]
        if abs(gap) > 2 * math.hypot(measured[one][1], measured[two][1]):
            apart += 1
            alike += gap * (predicted[one] - predicted[two]) > 0
    return alike, apart


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Accuracies by activation, the order of activations, and the source."""
    groups = _groups(rows)
    names = list(dict.fromkeys(row["activation"] for row in rows))
    levels = sorted({row["p"] for row in rows})
    routes = [r for r in shared_routes.ROUTES if any(row["route"] == r for row in rows)]
    lines = []
    for inits, what in (("1", "one network"), ("inf", "mean of all initialisations")):
        body = []
        for route, p in itertools.product(routes, levels):
            found = [pool(groups.get((a, p, route), []), inits) for a in names]
            if any(found):
                body.append(f"{p:>6g} {route:<12}" + "".join(map(tables.text, found)))
        if body:
            head = f"{'p':>6} {'route':<12}" + "".join(f"{a:>16}" for a in names)
            lines += ["", f"accuracy, {what}", head, *body]
    return "\n".join(
        [
            *lines,
            *_order(groups, names, levels),
            *report("activations", rows),
            "",
        ]
    )


def _order(groups, names: Sequence[str], levels: Sequence[float]) -> list[str]:
    """How many pairs of activations the law orders as the networks do."""
    lines, total = [], np.zeros(2, int)
    for p in levels:
        law, networks = (
            {
                name: pooled
                for name in names
                if (pooled := pool(groups.get((name, p, route), []), "1"))
            }
            for route in ("resummed", "network")
        )
        counts = ordered_alike(
            {name: value[0] for name, value in law.items()}, networks
        )
        total += counts
        if law and networks:
            lines.append(f"{p:>6g} {counts[0]:>8} of {counts[1]}")
    if not lines:
        return []
    head = (
        "pairs of activations two errors apart that the law orders as the networks do"
    )
    return ["", head, *lines, f"{'all':>6} {total[0]:>8} of {total[1]}"]


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """One network on the left, the average over initialisations on the right."""
    from matplotlib.figure import Figure

    groups, names = _groups(rows), list(dict.fromkeys(r["activation"] for r in rows))
    levels = sorted({row["p"] for row in rows})
    published = _published(rows)
    fig = Figure(figsize=(9.0, 4.6), layout="constrained")
    for ax, inits, title in zip(
        fig.subplots(1, 2, sharey=True),
        ("1", "inf"),
        ("one network", "mean of all initialisations"),
        strict=True,
    ):
        for name, colour in zip(names, itertools.cycle(plots.PALETTE)):
            for route in ("resummed", "exact", "network"):
                points = [
                    (p, *pooled)
                    for p in levels
                    if (pooled := pool(groups.get((name, p, route), []), inits))
                ]
                if points:
                    line = shared_routes.ROUTES[route].line
                    plots.accuracy_curves(
                        ax,
                        *np.nan_to_num(np.array(points).T),
                        label=name if route == "resummed" else f"_{route}",
                        color=colour,
                        marker="" if line else "o",
                        linestyle=line,
                    )
            source = published.get(name, []) if inits == "1" else []
            if source:
                ax.plot(*np.array(source).T, "x", color=colour, label="_source")
        plots.corruption_axis(ax, np.array(levels))
        ax.set_title(title)
    fig.axes[1].set_ylabel("")
    fig.axes[1].plot([], [], "-", color="0.3", label="law")
    fig.axes[1].plot([], [], "o", color="0.3", label="trained networks")
    if published:
        fig.axes[1].plot([], [], "x", color="0.3", label="networks of the source")
    fig.axes[1].legend(fontsize="small")
    about = {**rows[0], "activation": "several activations"}
    fig.suptitle(settings.title(about), fontsize="medium")
    return fig


def _published(rows: Sequence[Row]) -> dict[str, list[tuple[float, float]]]:
    """Levels and accuracies of the source, by activation, if the setting is its own."""
    reference = read("activations")
    if not matching(rows, reference["setting"]):
        return {}
    levels, found = {row["p"] for row in rows}, {}
    for entry in reference["values"]:
        if entry["route"] == "network" and entry["p"] in levels:
            found.setdefault(entry["activation"], []).append(
                (entry["p"], entry["value"])
            )
    return found
