"""One curve for all noises and corruptions: settings, cells, table, figure."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from experiments.harness import sweeps
from experiments.harness.flags import setting
from experiments.harness.run_directory import Cell, Row, RunDirectory
from experiments.shared import routes as shared_routes
from experiments.shared import settings, tables
from experiments.shared.corruptions import KINDS, kind, made_for
from experiments.shared.rows import pool
from ntk_corrupt import plots

# Zero mean and unit variance, except for coins of 0 and 1.
_NOISES = (
    "normal",
    "laplace(0,0.70710678)",
    "rademacher",
    "bernoulli",
    "normal_mixture(0.1,2.7838822,0.5)",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Universality(shared_routes.Routes):
    """Settings of the experiment; factors are varied around depth, activation, ..."""

    p: tuple[float, ...] = setting((0.5, 0.9, 0.97), "corruption levels")
    routes: tuple[str, ...] = setting(
        ("resummed", "exact"), f"any of {', '.join(shared_routes.ROUTES)}"
    )
    depths: tuple[int, ...] = setting(
        tuple(range(2, 11)),
        "weight layers; 1 has a kernel only for fewer images than pixels",
        most=1000,
    )
    activations: tuple[str, ...] = setting(
        ("relu", "tanh", "gelu", "swish", "leaky_relu", "sin"), "between layers"
    )
    # names hold commas: one flag may not
    noises: str = setting(";".join(_NOISES), "laws of a noise pixel, ; between them")
    corruptions: tuple[str, ...] = setting(
        tuple(KINDS),
        "kinds, each on the pixels and with the noise made for",
    )
    datasets: tuple[str, ...] = setting(("digits",), "data sets")
    size: int | None = setting(
        14, "side in pixels to resize the images to; or none", most=1024
    )
    draws: int = setting(8, "corruption draws")


def _each(config: Universality) -> list[Universality]:
    return sweeps.variants(
        config,
        {
            "depth": config.depths,
            "activation": config.activations,
            "noise": [text for text in config.noises.split(";") if text],
            "corruption": [made_for(name) for name in config.corruptions],
            "dataset": config.datasets,
        },
    )


def _at_levels(config: Universality) -> Universality:
    """With the strengths that stand for the levels of this kind of corruption."""
    strengths = [kind(config.corruption).strength(p) for p in config.p]
    return dataclasses.replace(config, p=tuple(s for s in strengths if s is not None))


def check(config: Universality) -> None:
    """Raises `InputError` on bad settings."""
    for name in config.corruptions:
        kind(name, "--corruptions")
    for each in _each(config):
        shared_routes.check(_at_levels(each))


def cells(config: Universality) -> list[Cell]:
    """One cell per variant, route, level and training subset."""
    return [c for each in _each(config) for c in shared_routes.cells(_at_levels(each))]


_TOLD_BY = ("dataset", "corruption", "noise", "activation", "depth")


def _level(row: Row) -> float:
    """The level that the strength of a row stands for."""
    p = row["p"]
    return KINDS[row["corruption"]].level(p)


def _lines(rows: Sequence[Row]):
    """Variant, level, and rows of each route, in the order of the rows."""
    found: dict[tuple, dict[str, list[Row]]] = {}
    for row in rows:
        at = tuple(row[name] for name in _TOLD_BY), round(_level(row), 9)
        found.setdefault(at, {}).setdefault(row["route"], []).append(row)
    return found


def _name(variant: tuple, base: tuple) -> str:
    """What tells a variant from the common one; that one by all its settings."""
    told = [
        str(value) if name != "depth" else f"depth {value}"
        for name, value, common in zip(_TOLD_BY, variant, base, strict=True)
        # the noise that a kind of corruption is made for goes without saying
        if value != common and not (name == "noise" and variant[1] != base[1])
    ]
    return ", ".join(told) or "in common"


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Accuracies by variant and level, and the gaps between them."""
    found = _lines(rows)
    base = next(iter(found))[0]
    lines = [
        "",
        f"in common: {', '.join(map(str, base))} layers; mean of all initialisations",
        f"{'':<36}{'p':>6}{'class mean':>12}{'law':>9}{'exact':>17}"
        f"{'law - exact':>13}{'mean - exact':>14}",
    ]
    gaps = []
    for (variant, p), routes in found.items():
        rule = np.mean([r["rule_accuracy"] for each in routes.values() for r in each])
        law, exact = (
            pool(routes.get(route, []), "inf") for route in ("resummed", "exact")
        )
        text = f"{_name(variant, base):<36.36}{p:>6g}{rule:>12.4f}"
        text += f"{law[0]:>9.4f}" if law else f"{'-':>9}"
        text += f" {tables.text(exact)}"
        if exact:
            text += f"{law[0] - exact[0]:>+13.4f}" if law else f"{'-':>13}"
            text += f"{rule - exact[0]:>+14.4f}"
        doubts = {r["doubts"] for r in routes.get("resummed", []) if r.get("doubts")}
        if law and exact:
            gaps.append((abs(law[0] - exact[0]), bool(doubts)))
        lines.append(text + "".join(f"  not valid: {each}" for each in sorted(doubts)))
    if gaps:
        trusted = [gap for gap, doubted in gaps if not doubted]
        lines.append(
            f"largest |law - exact|: {max(trusted, default=float('nan')):.4f} over "
            f"{len(trusted)} lines that the law trusts, "
            f"{max(gap for gap, _ in gaps):.4f} over all {len(gaps)}"
        )
    return "\n".join([*lines, ""])


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Law less exact kernel, and class mean less exact kernel, for every variant."""
    from matplotlib.figure import Figure

    found = _lines(rows)
    base = next(iter(found))[0]
    variants = list(dict.fromkeys(variant for variant, _ in found))
    levels = sorted({p for _, p in found})
    fig = Figure(figsize=(9.0, 1.4 + 0.24 * len(variants)), layout="constrained")
    axes = fig.subplots(1, 2, sharey=True)
    place = {variant: -k for k, variant in enumerate(variants)}
    for level, colour in zip(levels, plots.PALETTE * 3, strict=False):
        points = []
        for (variant, p), routes in found.items():
            law, exact = (
                pool(routes.get(route, []), "inf") for route in ("resummed", "exact")
            )
            if p == level and law and exact:
                rule = float(np.mean([r["rule_accuracy"] for r in routes["exact"]]))
                points.append((place[variant], law[0], rule, *exact))
        if points:
            y, law, rule, exact, error = np.array(points).T
            for ax, ours in zip(axes, (law, rule), strict=True):
                ax.errorbar(
                    ours - exact, y, xerr=2 * np.nan_to_num(error), fmt="o", ms=4,
                    color=colour, label=f"p = {level:g}", alpha=0.8,
                )  # fmt: skip
    for ax, name in zip(axes, ("law", "nearest class mean"), strict=True):
        ax.axvline(0, color="0.5", linewidth=1)
        ax.set_xlabel(f"accuracy: {name} - exact kernel")
    axes[0].set_yticks(
        list(place.values()), labels=[_name(v, base)[:36] for v in variants]
    )
    handles, names = axes[1].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=4, fontsize="small")
    fig.suptitle(settings.title(rows[0]), fontsize="medium")
    return fig
