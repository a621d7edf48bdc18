"""Shares decided as the class mean does: settings, cells, table, figure."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

import theory
from experiments.harness import sweeps
from experiments.harness.flags import setting
from experiments.harness.run_directory import Cell, Row, RunDirectory
from experiments.laws import flips
from experiments.shared import routes as shared_routes
from experiments.shared import settings, tables
from experiments.shared.reference import report
from experiments.shared.rows import (
    accuracies,
    held,
    matching,
    pool,
    stored_draws,
    stored_law,
)
from ntk_corrupt import plots
from theory.errors import InputError

# Factor -> the flag of its values.
_FACTORS = {"depth": "depths", "width": "widths", "activation": "activations"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement(shared_routes.Routes):
    """Settings of the experiment; each factor is varied around depth, width, ..."""

    p: tuple[float, ...] = setting(
        (0.5, 0.8, 0.9, 0.95, 0.97, 0.99), "levels in [0, 1]"
    )
    routes: tuple[str, ...] = setting(
        ("resummed", "exact", "network"), f"any of {', '.join(shared_routes.ROUTES)}"
    )
    depths: tuple[int, ...] = setting((2, 3, 4, 5, 6), "weight layers", most=1000)
    widths: tuple[int, ...] = setting((128, 256, 512, 1024, 2048), "hidden units")
    activations: tuple[str, ...] = setting(
        ("erf", "relu", "tanh", "gelu"), "between layers"
    )
    grid: bool = setting(False, "all combinations, not one factor at a time")
    width: int = setting(512, "units of each hidden layer")
    size: int | None = setting(
        14, "side in pixels to resize the images to; or none", most=1024
    )
    inits: int = setting(2, "networks per draw; two or more to compare them")


def _each(config: Agreement) -> list[Agreement]:
    """One config per network."""
    values = {name: getattr(config, flag) for name, flag in _FACTORS.items()}
    return sweeps.variants(config, values, grid=config.grid)


def check(config: Agreement) -> None:
    """Raises `InputError` on bad settings."""
    if "network" in config.routes and config.inits < 2:
        raise InputError(
            "`--inits` must be at least 2, to compare networks with each other, got "
            f"{config.inits}."
        )
    for each in _each(config):
        shared_routes.check(each)


def cells(config: Agreement) -> list[Cell]:
    """One cell per network, route, level and training subset."""
    return [cell for each in _each(config) for cell in shared_routes.cells(each)]


def alike(draws: theory.Draws) -> list[float]:
    """Returns the chance that two networks of a draw decide alike, for each draw.

    From pairs of the networks at hand; of a kernel, from the distribution of its
    networks, which are independent given the draw.
    """
    _, inits, n, classes = draws.outputs.shape
    if draws.init_var is not None:
        chances = [
            1 - np.asarray(theory.observed_flips(draws, np.full(n, label), 1))
            for label in range(classes)
        ]
        return (np.stack(chances) ** 2).sum(axis=0).mean(axis=1).tolist()
    decisions = np.asarray(draws.decisions(1))
    pairs = list(itertools.combinations(range(inits), 2))
    return [
        float(np.mean([(one[i] == one[j]).mean() for i, j in pairs]))
        for one in decisions
    ]


def compute(config: Agreement, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell, and how often it decides as the class mean does."""
    row, arrays = shared_routes.compute(config, cell)
    found = held(arrays)
    row |= {"agreements": accuracies(found, arrays["scores"].argmax(axis=1))}
    if isinstance(found, theory.Draws):
        row["alike"] = {"1": alike(found)}
    return row, arrays


def _variants(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The networks of these rows: values of all factors, without width for kernels."""
    found = [{name: row.get(name) for name in _FACTORS} for row in rows]
    trained = [each for each in found if each["width"] is not None]
    return [
        dict(each) for each in dict.fromkeys(tuple(v.items()) for v in trained or found)
    ]


def _group(rows: Sequence[Row], variant, route: str, p: float) -> list[Row]:
    """Rows of a route for this network; kernels have no width."""
    return matching(rows, {**variant, "route": route, "p": p})


# Column -> route, size of the average, and the share it is of.
_COLUMNS = {
    "one network": ("network", "1", "agreements"),
    "kernel's": ("exact", "1", "agreements"),
    "law's": ("resummed", "1", "agreements"),
    "mean of all": ("exact", "inf", "agreements"),
    "law, mean": ("resummed", "inf", "agreements"),
    "two networks": ("network", "1", "alike"),
    "two of kernel": ("exact", "1", "alike"),
}


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Shares decided alike, by network and level; then by predicted stability."""
    levels = sorted({row["p"] for row in rows})
    columns = {
        name: column
        for name, column in _COLUMNS.items()
        if any(row["route"] == column[0] for row in rows)
    }
    lines = [
        "",
        "share of clean test images decided as the nearest class mean; of the last "
        "columns, by two networks alike",
        f"{'depth':>5} {'width':>5} {'activation':<10} {'p':>5}"
        + "".join(f"{name:>16}" for name in columns),
    ]
    variants = _variants(rows)
    for variant, p in itertools.product(variants, levels):
        values = [
            pool(_group(rows, variant, route, p), inits, of)
            for route, inits, of in columns.values()
        ]
        lines.append(
            f"{variant['depth']:>5} {variant['width'] or '-':>5} "
            f"{variant['activation']:<10} {p:>5g}" + "".join(map(tables.text, values))
        )
    lines += _by_stability(directory, rows, variants[0], levels)
    lines += report("agreement", rows, _share)
    return "\n".join([*lines, ""])


def _share(group: Sequence[Row], entry: dict[str, Any]) -> float | None:
    """The share of a group of rows that an entry of the reference is of."""
    found = pool(group, entry["inits"], "agreements")
    return None if found is None else found[0]


def _by_stability(directory, rows, variant, levels) -> list[str]:
    """One network against the law, in bins of the flips that the law predicts."""
    lines = []
    for p in levels:
        pair = [
            _group(rows, variant, route, p)[:1] for route in ("resummed", "network")
        ]
        if all(pair):
            ours, theirs = (each[0] for each in pair)
            law = stored_law(directory, ours).averaged(1)
            networks = stored_draws(directory, theirs)
            rule = directory.arrays(ours)["scores"].argmax(axis=1)
            lines += flips.lines(p, flips.in_bins(law, networks, rule, 1))
    if not lines:
        return []
    name = ", ".join(f"{factor} {value}" for factor, value in variant.items())
    return [
        "",
        f"one network that decides otherwise: the law, and trained networks of {name}",
        flips.HEAD,
        *lines,
    ]


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Agreement of one network over levels, a panel for every factor."""
    from matplotlib.figure import Figure

    levels = np.array(sorted({row["p"] for row in rows}))
    variants = _variants(rows)
    base = variants[0]
    fig = Figure(figsize=(11.0, 4.6), layout="constrained")
    axes = fig.subplots(1, len(_FACTORS), sharey=True)
    for ax, factor in zip(axes, _FACTORS, strict=True):
        shown = [
            v
            for v in variants
            if all(v[name] == base[name] for name in _FACTORS if name != factor)
        ]
        shown = sorted(shown, key=lambda v: (isinstance(v[factor], str), v[factor]))
        for variant, colour in zip(shown, itertools.cycle(plots.PALETTE)):
            for route, of, style in (
                ("resummed", "agreements", {"linestyle": "-", "marker": ""}),
                ("network", "agreements", {"linestyle": "", "marker": "o"}),
                ("network", "alike", {"linestyle": ":", "marker": ""}),
            ):
                points = [
                    (p, *pooled)
                    for p in levels
                    if (pooled := pool(_group(rows, variant, route, p), "1", of))
                ]
                if points:
                    named = style["marker"] or not any(
                        row["route"] == "network" for row in rows
                    )
                    plots.accuracy_curves(
                        ax,
                        *np.nan_to_num(np.array(points).T),
                        label=f"{variant[factor]}" if named else f"_{route}{of}",
                        color=colour,
                        **style,
                    )
        plots.corruption_axis(ax, levels)
        ax.set_title(factor)
        ax.set_ylabel("")
        ax.legend(fontsize="small", loc="lower left")
    axes[0].set_ylabel("share of test images decided alike")
    shown = [
        axes[-1].plot([], [], style, color="0.3", label=name)[0]
        for style, name in (
            ("o", "network and class mean (bars: one standard error)"),
            ("-", "the same, predicted at infinite width"),
            (":", "two networks of the same images"),
        )
    ]
    fig.legend(handles=shown, loc="outside lower center", ncols=3, fontsize="small")
    about = {**rows[0], "activation": base["activation"], "depth": base["depth"]}
    fig.suptitle(
        f"{settings.title(about)}, width {base['width']}, except for the factor shown",
        fontsize="medium",
    )
    return fig
