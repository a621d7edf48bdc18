"""Networks beside their kernel, cause by cause: the table and the figure."""

from collections.abc import Mapping, Sequence

import numpy as np

import theory
from experiments.harness.run_directory import Row, RunDirectory
from experiments.shared import settings, tables
from experiments.shared.rows import matching, pool, stored_draws
from ntk_corrupt import plots


def mean_outputs(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Outputs of a cell averaged over draws and networks, (n, c)."""
    if "mean" in arrays:
        return arrays["mean"]
    return np.asarray(arrays["outputs"], float).mean(axis=(0, 1))


def offset(arrays: Mapping[str, np.ndarray]) -> float:
    """The constant b of mean outputs = a score + b over all points and classes."""
    return theory.fit_line(arrays["scores"], mean_outputs(arrays)).intercept


def _lines(directory: RunDirectory, rows: Sequence[Row]) -> list[dict]:
    """One line for every network: means over subsets of what it shows."""
    kernels = {
        (row["p"], row["subset"]): row
        for row in rows
        if (row["route"], row.get("kind")) == ("exact", "no biases")
    }
    found: dict[tuple[float, str], list[dict]] = {}
    for row in rows:
        if row["route"] != "network":
            continue
        arrays = directory.arrays(row)
        line = {
            "offset": offset(arrays),
            "loss": row["mean_train_loss"],
            "epochs": row["mean_epochs"],
        }
        kernel = kernels.get((row["p"], row["subset"]))
        if kernel is not None:
            common = theory.compare(
                *(stored_draws(directory, each) for each in (kernel, row)),
                arrays["labels"],
            )
            own = theory.fit_line(
                theory.centred(mean_outputs(directory.arrays(kernel))),
                theory.centred(mean_outputs(arrays)),
            )
            line |= {
                "agreement": common.agreement,
                "slope": own.slope,
                "r2": own.r2,
            }
        found.setdefault((row["p"], row["kind"]), []).append(line)
    return [
        {"p": p, "kind": kind}
        | {name: float(np.mean([e[name] for e in each])) for name in each[0]}
        for (p, kind), each in found.items()
    ]


def _excess(group: Sequence[Row], kernels: Sequence[Row]) -> tuple | None:
    """Accuracy of one network less its kernel's on the same corrupted images."""
    of = {row["subset"]: np.asarray(row["accuracies"]["1"]) for row in kernels}
    pairs = [row for row in group if row["subset"] in of]
    differences = [
        {"accuracies": {"1": np.asarray(row["accuracies"]["1"]) - of[row["subset"]]}}
        for row in pairs
    ]
    return pool(differences, "1")


def _of(rows: Sequence[Row], route: str, p: float, kind: str) -> list[Row]:
    return matching(rows, {"route": route, "p": p, "kind": kind})


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Networks beside the kernel: accuracies, outputs, offset; then the kernels."""
    inits = next((str(row["inits"]) for row in rows if "inits" in row), "1")
    heads = ("one network", f"mean of {inits}")
    lines = [
        "",
        "networks and their kernel, same corrupted images; slope and R2 of the mean "
        "outputs less what classes share",
        f"{'p':>5} {'':<24}{heads[0]:>16}{'- kernel':>16}{heads[1]:>16}{'= kernel':>10}"
        f"{'slope':>8}{'R2':>8}{'b':>8}{'loss':>10}{'epochs':>8}",
    ]
    networks = _lines(directory, rows)
    for p in sorted({row["p"] for row in rows}):
        for line in networks:
            if line["p"] == p:
                group = _of(rows, "network", p, line["kind"])
                text = f"{p:>5g} {line['kind']:<24}" + "".join(
                    tables.text(pooled)
                    for pooled in (
                        pool(group, "1"),
                        _excess(group, _of(rows, "exact", p, "no biases")),
                        pool(group, inits),
                    )
                )
                for name, form in (
                    ("agreement", "10.3f"),
                    ("slope", "8.3f"),
                    ("r2", "8.3f"),
                    ("offset", "8.3f"),
                    ("loss", "10.1e"),
                    ("epochs", "8.0f"),
                ):
                    text += f"{line[name]:>{form}}" if name in line else f"{'-':>8}"
                lines.append(text)
        for route in ("exact", "resummed", "first_order"):
            for kind in dict.fromkeys(r["kind"] for r in rows if r["route"] == route):
                group = _of(rows, route, p, kind)
                if not group:
                    continue
                b = np.mean([offset(directory.arrays(row)) for row in group])
                name = f"{route.replace('_', ' ')}, {kind}"
                text = f"{p:>5g} {name:<24}" + "".join(
                    tables.text(pooled)
                    for pooled in (
                        pool(group, "1"),
                        None,
                        pool(group, inits),
                    )
                )
                lines.append(f"{text}{'':>26}{b:>8.3f}")
    return "\n".join([*lines, ""])


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Accuracy of networks with each cause switched off, and their kernel's."""
    from matplotlib.figure import Figure

    levels = sorted({row["p"] for row in rows})
    inits = next((str(row["inits"]) for row in rows if "inits" in row), "1")
    kinds = list(dict.fromkeys(r["kind"] for r in rows if r["route"] == "network"))
    fig = Figure(figsize=(4.2 * len(levels) + 1, 4.4), layout="constrained")
    for ax, p in zip(
        fig.subplots(1, len(levels), squeeze=False)[0], levels, strict=True
    ):
        for which, colour, name in (
            ("1", plots.PALETTE[1], "one network"),
            (inits, plots.PALETTE[0], f"mean of {inits}"),
        ):
            points = [
                (-k, *pooled)
                for k, kind in enumerate(kinds)
                if (pooled := pool(_of(rows, "network", p, kind), which))
            ]
            if points:
                y, accuracy, error = np.array(points).T
                ax.errorbar(
                    accuracy, y, xerr=2 * np.nan_to_num(error), fmt="o", ms=4,
                    color=colour, label=name,
                )  # fmt: skip
            for route, style in (("exact", "-"), ("resummed", "--")):
                pooled = pool(_of(rows, route, p, "no biases"), which)
                if pooled:
                    ax.axvline(pooled[0], color=colour, linestyle=style, linewidth=1)
        ax.set_yticks([-k for k in range(len(kinds))], labels=kinds)
        ax.set_title(f"p = {p:g}")
        ax.set_xlabel("accuracy on clean images")
    for style, name in (("-", "exact kernel"), ("--", "law")):
        fig.axes[-1].plot([], [], style, color="0.3", label=name)
    handles, names = fig.axes[-1].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=4, fontsize="small")
    fig.suptitle(settings.title(rows[0]), fontsize="medium")
    return fig
