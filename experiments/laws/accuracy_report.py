"""Rows of accuracies as a table and a figure: by route, level and average.

A row has `route`, `p`, `subset`, `rule_accuracy`, `agreement` and `accuracies`, a list
over draws (one number for a law) for each size of average over initialisations; "inf"
is the average over all. Its arrays hold `labels`, `outputs`, `draw_keys`, and a few
images, `clean` and `corrupted`.
"""

import itertools
from collections.abc import Sequence

import numpy as np

import theory
from experiments.harness.run_directory import Row, RunDirectory
from experiments.shared import reference, routes, settings, tables
from experiments.shared.rows import pool, stored
from ntk_corrupt import plots


def _summary(rows: Sequence[Row]) -> list[Row]:
    """One line per corruption level and route, means over training subsets."""
    lines = []
    for p in sorted({row["p"] for row in rows}):
        for route in routes.ROUTES:
            group = [row for row in rows if (row["p"], row["route"]) == (p, route)]
            if not group:
                continue
            line = {"p": p, "route": route}
            line["agreement"] = float(np.mean([row["agreement"] for row in group]))
            line |= {inits: pool(group, inits) for inits in group[0]["accuracies"]}
            line["doubts"] = "; ".join(
                sorted({row["doubts"] for row in group if row.get("doubts")})
            )
            lines.append(line)
    return lines


def _pointwise(directory: RunDirectory, rows: Sequence[Row], p: float) -> str | None:
    """Networks beside the exact kernel at one level, draw by draw, point by point."""
    found = []
    for row in rows:
        if (row["route"], row["p"]) != ("network", p):
            continue
        for other in rows:
            if (other["route"], other["p"], other["subset"]) == (
                "exact",
                p,
                row["subset"],
            ):
                labels = directory.arrays(row)["labels"]
                kernel, networks = (stored(directory, r) for r in (other, row))
                found.append(theory.compare(kernel, networks, labels))
    if not found:
        return None
    mean = lambda name: float(np.mean([getattr(c, name) for c in found]))
    return (
        f"{p:>6g} {mean('agreement'):>12.3f} {mean('slope'):>8.3f} "
        f"{mean('intercept'):>10.3f} {mean('r2'):>7.3f} {mean('spread_ratio'):>8.2f}"
    )


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """The accuracy of every route, then networks beside the kernel, then the source."""
    inits = next((r["inits"] for r in rows if r["route"] == "network"), None)
    columns = ["inf", *([str(inits)] if inits not in (None, 1) else []), "1"]
    heads = {"inf": "mean of all", "1": "one network"}
    head = "".join(f"{heads.get(c, f'mean of {c}'):>16}" for c in columns)
    rule = np.mean([row["rule_accuracy"] for row in rows])
    lines = [
        "",
        f"accuracy on clean test images (nearest class mean: {rule:.4f})",
        f"{'p':>6} {'route':<12}{head}{'= class mean':>16}",
    ]
    for line in _summary(rows):
        values = "".join(tables.text(line.get(c)) for c in columns)
        lines.append(
            f"{line['p']:>6g} {line['route']:<12}{values}{line['agreement']:>16.3f}"
            + (f"  not valid: {line['doubts']}" if line["doubts"] else "")
        )
    points = [
        text
        for p in sorted({row["p"] for row in rows})
        if (text := _pointwise(directory, rows, p))
    ]
    if points:
        lines += [
            "",
            "networks against the exact kernel, same corrupted images, point by point",
            f"{'p':>6} {'agreement':>12} {'slope':>8} {'intercept':>10} {'R2':>7} "
            f"{'spread':>8}",
            *points,
        ]
    return "\n".join([*lines, *reference.report("accuracy_curve", rows), ""])


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """What is left of the images at each level, and the accuracy of every route."""
    from matplotlib.figure import Figure

    levels = sorted({row["p"] for row in rows})
    samples = {row["p"]: directory.arrays(row) for row in rows if row["subset"] == 0}
    images = [("clean", samples[levels[0]]["clean"])]
    images += [(f"p = {p:g}", samples[p]["corrupted"]) for p in levels]
    count = len(images[0][1])
    fig = Figure(figsize=(8.0, 6.6), layout="constrained")
    grid = fig.add_gridspec(count + 1, len(images), height_ratios=[1] * count + [6])
    for sample in range(count):
        axes = [fig.add_subplot(grid[sample, column]) for column in range(len(images))]
        pictures = np.concatenate(
            [plots.as_images(array[sample : sample + 1]) for _, array in images]
        )
        plots.sample_images(
            axes, pictures, [name if sample == 0 else "" for name, _ in images]
        )
    ax = fig.add_subplot(grid[-1, :])
    _draw_curves(ax, rows)
    plots.chance_line(ax, 1 + int(max(s["labels"].max() for s in samples.values())))
    ax.axhline(
        float(np.mean([row["rule_accuracy"] for row in rows])),
        color="0.5",
        linestyle="--",
        linewidth=1,
        label="nearest class mean",
    )
    plots.corruption_axis(ax, np.array(levels))
    ax.set_ylim(0, 1)
    ax.legend(loc="best", fontsize="small", frameon=True, edgecolor="none")
    fig.suptitle(settings.title(rows[0]), fontsize="medium")
    return fig


def _draw_curves(ax, rows: Sequence[Row]) -> None:
    """Lines for the theory, markers for the networks; one colour per average."""
    lines, inits = _summary(rows), {str(r["inits"]) for r in rows if "inits" in r}
    many = sorted(inits - {"1"})
    averages = [("inf", "mean of all inits", plots.PALETTE[6])]
    averages += [(m, f"mean of {m} networks", plots.PALETTE[0]) for m in many]
    averages += [("1", "one network", plots.PALETTE[1])]
    for (inits, average, colour), route in itertools.product(averages, routes.ROUTES):
        label = f"{routes.ROUTES[route].label}, {average}"
        if route == "first_order":  # it knows of no single networks
            label, colour = routes.ROUTES[route].label, plots.PALETTE[2]
        points = [
            (line["p"], *line[inits])
            for line in lines
            if line["route"] == route and line.get(inits)
        ]
        if points:
            p, accuracy, stderr = np.array(points, float).T
            line = routes.ROUTES[route].line
            plots.accuracy_curves(
                ax,
                p,
                accuracy,
                np.nan_to_num(stderr),
                label=label,
                color=colour,
                marker="" if line else "o",
                linestyle=line,
                alpha=0.7 if line else 1.0,
            )
