"""Rows of accuracies as a table and a figure: by route, level and average.

A row has `route`, `p`, `subset`, `rule_accuracy`, `agreement` and `accuracies`, a list
over draws (one number for a law) for each size of average over initialisations; "inf"
is the average over all. Its arrays hold `labels`, `outputs`, `draw_keys`, and a few
images, `clean` and `corrupted`.
"""

import itertools
from collections.abc import Sequence
from typing import Any

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
        f"{'p':>6} {'route':<14}{head}{'= class mean':>16}",
    ]
    for line in _summary(rows):
        values = "".join(tables.text(line.get(c)) for c in columns)
        lines.append(
            f"{line['p']:>6g} {line['route']:<14}{values}{line['agreement']:>16.3f}"
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
    of_source = [row for row in rows if "architecture" not in row]
    return "\n".join([*lines, *reference.report("accuracy_curve", of_source), ""])


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
        for each in axes:
            each.title.set_fontsize("small")
    ax = fig.add_subplot(grid[-1, :])
    plots.corruption_axis(ax, np.array(levels))
    ax.set_ylim(0, 1)
    shown, ends = _draw_curves(ax, rows)
    ax.set_ylabel("test accuracy (bars: standard error)")
    classes = 1 + int(max(s["labels"].max() for s in samples.values()))
    plots.chance_line(ax, classes)
    rule = float(np.mean([row["rule_accuracy"] for row in rows]))
    ax.axhline(rule, color="0.5", linestyle="--", linewidth=1)
    guides = [("chance", 1 / classes, "0.4"), ("nearest\nclass mean", rule, "0.4")]
    plots.name_ends(ax, [*ends, *guides])
    fig.legend(
        handles=shown,
        loc="outside lower center",
        ncols=min(len(shown), 3),
        fontsize="small",
        handlelength=3.0,
    )
    fig.suptitle(settings.title(rows[0]), fontsize="medium")
    return fig


# Laws whose range ends within the figure: open circles beyond.
_OF_WIDTH = ("lazy", "resummed_lazy")
_MARKERS = {"linearised": "s", "adam": "D", "tangent": "^", "final": "v"}
_DASHES = {"first_order": "--", "resummed": "-.", "exact": ":"}


def _style(route: str, *, of_width: bool) -> dict[str, Any]:
    """Lines for theory and markers for networks.

    The line through the networks is the law of their width, heavy, where there is one.
    """
    line = routes.ROUTES[route].line
    if not line:
        return {"linestyle": "", "marker": _MARKERS.get(route, "o"), "zorder": 4}
    if route in _OF_WIDTH:
        line = "-" if route == "lazy" else line
        return {"linestyle": line, "marker": "", "linewidth": 2.2}
    thin = _DASHES[route] if of_width else line
    return {"linestyle": thin, "marker": "", "linewidth": 1.1 if of_width else 1.5}


def _draw_curves(ax, rows: Sequence[Row]) -> tuple[list, list[tuple[str, float, str]]]:
    """A colour for each average, a style for each route.

    Returns what the styles mean, and what the colours do: name, height of the last
    point and colour. Open circles on the line of a width where it is out of its range.
    """
    from matplotlib.lines import Line2D

    lines, inits = _summary(rows), {str(r["inits"]) for r in rows if "inits" in r}
    of_width = any(line["route"] in _OF_WIDTH for line in lines)
    many = sorted(inits - {"1"})
    averages = [("inf", "mean of all", plots.PALETTE[6])]
    averages += [(m, f"mean of {m}", plots.PALETTE[0]) for m in many]
    averages += [("1", "one network", plots.PALETTE[1])]
    ends, styles, doubts = {}, {}, []
    for (inits, average, colour), route in itertools.product(averages, routes.ROUTES):
        found = [x for x in lines if x["route"] == route and x.get(inits)]
        if not found:
            continue
        label, style = routes.ROUTES[route].label, _style(route, of_width=of_width)
        if route == "first_order":  # it knows of no single networks
            colour = plots.PALETTE[2]
        points = [(each["p"], *each[inits]) for each in found]
        p, accuracy, stderr = np.array(points, float).T
        if route != "first_order" and average not in ends or route in _OF_WIDTH:
            ends[average] = (average, accuracy[p.argmax()], colour)
        grey = colour if route == "first_order" else "0.3"
        styles[route] = Line2D([], [], color=grey, label=label, **style)
        plots.accuracy_curves(
            ax,
            p,
            accuracy,
            np.nan_to_num(stderr) if stderr.any() else None,
            label="_",
            color=colour,
            **style,
        )
        doubted = [each["doubts"] != "" for each in found]
        if route in _OF_WIDTH and any(doubted):
            open_circles: dict[str, Any] = {"ls": "", "marker": "o", "mfc": "none"}
            ax.plot(p[doubted], accuracy[doubted], color=colour, **open_circles)
            label = "this width: out of the law's range"
            doubts = [Line2D([], [], color="0.3", label=label, **open_circles)]
    return [*styles.values(), *doubts], list(ends.values())
