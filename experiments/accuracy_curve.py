"""How accurately does a network trained on corrupted images classify clean ones?

Three routes answer for each corruption level p, on the same training subsets and the
same corrupted copies: the nearest-class-mean law (first_order), the exact infinite-
width kernel (exact) and trained networks (network).

    python -m experiments.accuracy_curve --workdir=results/digits
"""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

import theory
from experiments import _runner, _settings
from experiments._runner import setting
from ntk_corrupt import ensembles, plots
from ntk_corrupt.results import Cell, Row, RunDirectory
from theory.errors import InputError, unknown

ROUTES = ("first_order", "exact", "network")
# Sizes of averages over initialisations that the exact route is evaluated for.
AVERAGES = (1, 2, 3, 5, 10, 20, 50)
_REFERENCE = pathlib.Path(__file__).parent / "reference" / "accuracy_curve.json"
_SAMPLES = 3  # training images kept with every cell, for the picture
_DATA = (
    "seed",
    "dataset",
    "n_train",
    "n_test",
    "size",
    "normalise",
    "corruption",
    "noise",
)
_ARCHITECTURE = ("activation", "depth", "w_var", "b_var")
_TRAINING = (
    "width",
    "parametrisation",
    "loss",
    "optimiser",
    "learning_rate",
    "batch_size",
    "epochs",
    "stop_loss",
    "noise_regime",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccuracyCurve(_settings.Settings):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99), "corruption levels in [0, 1]"
    )
    routes: tuple[str, ...] = setting(ROUTES, f"any of {', '.join(ROUTES)}")
    subsets: int = setting(1, "training subsets, each drawn from the whole data set")
    draws: int = setting(4, "corruption draws per subset")
    inits: int = setting(3, "networks per draw, averaged")


PRESETS = {
    "smoke": {
        "n_train": 100,
        "n_test": 100,
        "p": (0.5, 0.95),
        "draws": 2,
        "inits": 2,
        "width": 32,
        "epochs": 20,
    },
    "cpu": {},
    # arXiv 2606.11319, its figure on the centroid rule
    "paper": {
        "dataset": "mnist",
        "n_train": 4000,
        "p": (0.5, 0.8, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 1.0),
        "draws": 20,
        "inits": 10,
        "width": 2048,
        "learning_rate": 1e-4,
        "epochs": 25,
        "stop_loss": None,
    },
}


def check(config: AccuracyCurve) -> None:
    """Raises `InputError` on bad settings."""
    for route in config.routes:
        if route not in ROUTES:
            raise unknown("--routes", route, ROUTES)
    for name in ("subsets", "draws", "inits"):
        if getattr(config, name) < 1:
            raise InputError(
                f"`--{name}` must be at least 1, got {getattr(config, name)}."
            )
    _settings.check(config, config.p)


def cells(config: AccuracyCurve) -> list[Cell]:
    """One cell per route, corruption level and training subset."""
    settings = dataclasses.asdict(config)

    def cell(route: str, p: float, subset: int) -> Cell:
        names = [*_DATA, *_ARCHITECTURE]
        if route != "first_order":
            names += ["draws"]
        if route == "network":
            names += ["inits", *_TRAINING]
        own = {name: settings[name] for name in names}
        return Cell({"route": route, "p": p, "subset": subset, **own})

    # one subset after the other, so that each is loaded once
    return [
        cell(route, p, subset)
        for subset in range(config.subsets)
        for route in config.routes
        for p in config.p
    ]


def compute(config: AccuracyCurve, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell."""
    route, p, subset = (cell.settings[name] for name in ("route", "p", "subset"))
    problem = _settings.problem(config, subset)
    arch, noise = _settings.architecture(config), _settings.corruption(config, p)
    key, labels = _settings.corruption_key(config, subset), problem.labels_test
    rule = np.asarray(theory.class_mean_scores(problem).argmax(axis=1))
    row = {"rule_accuracy": float((rule == np.asarray(labels)).mean())}
    arrays = {
        "labels": np.asarray(labels, np.int16),
        "rule": rule.astype(np.int16),
        "clean": np.asarray(problem.x_train[:_SAMPLES], np.float32),
        "corrupted": np.asarray(
            theory.corrupt(noise, key, 0, problem.x_train)[:_SAMPLES], np.float32
        ),
    }
    if route == "first_order":
        law = theory.first_order(arch, noise, problem)
        decisions = np.asarray(law.decisions())
        row |= {"accuracy": law.accuracy(labels)}
        arrays |= {"mean": np.asarray(law.mean), "cov": np.asarray(law.cov)}
    else:
        measure = {
            "exact": theory.exact,
            "network": functools.partial(
                ensembles.measure,
                width=config.width,
                inits=config.inits,
                config=_settings.training(config),
                parametrisation=config.parametrisation,
            ),
        }[route]
        draws = measure(arch, noise, problem, draws=config.draws, key=key)
        decisions = np.asarray(draws.decisions())
        row |= _accuracies(draws, labels)
        row |= {
            f"mean_{name}": np.asarray(value).mean().item()
            for name, value in draws.diagnostics.items()
        }
        arrays |= {"outputs": np.asarray(draws.outputs, np.float32)}
        if draws.init_var is not None:
            arrays["init_var"] = np.asarray(draws.init_var, np.float32)
        if draws.draw_keys is not None:
            arrays["draw_keys"] = np.asarray(draws.draw_keys)
    return {**row, "agreement": float((decisions == rule).mean())}, arrays


def _accuracies(draws: theory.Draws, labels) -> Row:
    """Accuracy of each draw, for the averages over initialisations there are."""
    analytic = draws.init_var is not None
    inits = AVERAGES if analytic else {1, draws.outputs.shape[1]}
    by_inits = {
        str(m): np.asarray(draws.accuracies(labels, m)).tolist() for m in sorted(inits)
    }
    if analytic:
        by_inits["inf"] = np.asarray(draws.accuracies(labels)).tolist()
    return {"accuracies": by_inits}


def estimate(config: AccuracyCurve, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    n, route = config.n_train, cell.settings["route"]
    m = config.n_test or 10_000
    if route == "first_order":
        return 1.0
    if route == "exact":
        return 2 + config.draws * (n**3 / 3 + 2 * n**2 * m) * 2e-11
    weights = 784 * config.width + (config.depth - 2) * config.width**2
    steps = config.draws * config.inits * config.epochs * n
    return 5 + steps * 6 * weights * 1e-11


def _pool(rows: Sequence[Row], inits: str) -> tuple[float | None, float | None]:
    """Mean accuracy and standard error over the subsets and draws of `rows`."""
    if any(inits not in row.get("accuracies", {}) for row in rows):
        return None, None
    # The mean of a subset's draws is one number: its draws share the training images.
    per_subset = [np.mean(row["accuracies"][inits]) for row in rows]
    if len(rows) > 1:
        stderr = theory.standard_error(np.asarray(per_subset))
    else:
        stderr = theory.standard_error(np.asarray(rows[0]["accuracies"][inits]))
    return float(np.mean(per_subset)), stderr


def _summary(rows: Sequence[Row]) -> list[Row]:
    """One line per corruption level and route, means over training subsets."""
    lines = []
    for p in sorted({row["p"] for row in rows}):
        for route in ROUTES:
            group = [row for row in rows if (row["p"], row["route"]) == (p, route)]
            if not group:
                continue
            line = {"p": p, "route": route}
            line["agreement"] = float(np.mean([row["agreement"] for row in group]))
            if route == "first_order":
                values = np.array([row["accuracy"] for row in group])
                line["inf"] = float(values.mean()), theory.standard_error(values)
            else:
                line |= {inits: _pool(group, inits) for inits in group[0]["accuracies"]}
            lines.append(line)
    return lines


def _cell_text(value: tuple[float | None, float | None] | None) -> str:
    if value is None or value[0] is None:
        return "-"
    mean, stderr = value
    known = stderr is not None and math.isfinite(stderr)
    return f"{mean:.4f} " + (f"±{stderr:.4f}" if known else " " * 7)


def _draws(directory: RunDirectory, row: Row) -> theory.Draws:
    arrays = directory.arrays(row)
    keys = arrays.get("draw_keys")
    return theory.Draws(
        outputs=jnp.asarray(arrays["outputs"]),
        draw_keys=None if keys is None else jnp.asarray(keys),
    )


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
                kernel, networks = (_draws(directory, r) for r in (other, row))
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
        values = "".join(f"{_cell_text(line.get(c)):>16}" for c in columns)
        lines.append(
            f"{line['p']:>6g} {line['route']:<12}{values}{line['agreement']:>16.3f}"
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
    return "\n".join([*lines, *_against_source(rows), ""])


def _against_source(rows: Sequence[Row]) -> list[str]:
    """Source value | own value | tolerance, where the source ran the same setting."""
    reference = json.loads(_REFERENCE.read_text())
    setting = reference["setting"]
    same = [row for row in rows if all(row.get(k, v) == v for k, v in setting.items())]
    if not same:
        return []
    own = {(line["p"], line["route"]): line for line in _summary(same)}
    lines = ["", f"{reference['source']}", f"{'p':>6}  {'quantity':<34} source  own"]
    for entry in reference["values"]:
        line = own.get((entry["p"], entry["route"]), {})
        value = line.get(entry["inits"], (None, None))[0]
        if value is not None:
            gap, tolerance = abs(value - entry["value"]), entry["tolerance"]
            verdict = "within" if gap <= tolerance else "MISSED"
            lines.append(
                f"{entry['p']:>6g}  {entry['quantity']:<34} {entry['value']:.3f}  "
                f"{value:.3f}  tolerance {tolerance:.2f}: {verdict}"
            )
    return lines if len(lines) > 3 else []


def _image(pixels: np.ndarray) -> np.ndarray:
    """Rows of pixels as images: square, grey or with three colours."""
    channels = 1 if math.isqrt(pixels.shape[-1]) ** 2 == pixels.shape[-1] else 3
    side = math.isqrt(pixels.shape[-1] // channels)
    if side**2 * channels != pixels.shape[-1]:
        return pixels.reshape(-1, 1, pixels.shape[-1])
    return np.squeeze(
        pixels.reshape(-1, side, side, channels), -1 if channels == 1 else ()
    )


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """What is left of the images at each level, and the accuracy of every route."""
    from matplotlib.figure import Figure

    levels = sorted({row["p"] for row in rows})
    samples = {row["p"]: directory.arrays(row) for row in rows if row["subset"] == 0}
    images = [("clean", samples[levels[0]]["clean"])]
    images += [(f"p = {p:g}", samples[p]["corrupted"]) for p in levels]
    fig = Figure(figsize=(8.0, 6.6), layout="constrained")
    grid = fig.add_gridspec(
        _SAMPLES - 1 + 1, len(images), height_ratios=[1] * (_SAMPLES - 1) + [6]
    )
    for sample in range(_SAMPLES - 1):
        axes = [fig.add_subplot(grid[sample, column]) for column in range(len(images))]
        pictures = np.concatenate(
            [_image(array[sample : sample + 1]) for _, array in images]
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
    plots.corruption_axis(ax, levels)
    ax.set_ylim(0, 1)
    ax.legend(loc="upper right", fontsize="small")
    fig.suptitle(_settings.title(rows[0]), fontsize="medium")
    return fig


def _draw_curves(ax, rows: Sequence[Row]) -> None:
    """Lines for the theory, markers for the networks; one colour per average."""
    lines, inits = _summary(rows), {str(r["inits"]) for r in rows if "inits" in r}
    many = sorted(inits - {"1"})
    curves = [("first_order", "inf", "first order: class-mean law", plots.PALETTE[2])]
    curves += [("exact", "inf", "exact kernel, mean of all inits", plots.PALETTE[6])]
    for inits, colour in [
        *((m, plots.PALETTE[0]) for m in many),
        ("1", plots.PALETTE[1]),
    ]:
        name = "one network" if inits == "1" else f"mean of {inits} networks"
        curves += [("exact", inits, f"exact kernel, {name}", colour)]
        curves += [("network", inits, f"trained: {name}", colour)]
    for route, inits, label, colour in curves:
        points = [
            (line["p"], *line[inits])
            for line in lines
            if line["route"] == route and line.get(inits, (None,))[0] is not None
        ]
        if points:
            p, accuracy, stderr = zip(*points, strict=True)
            trained = route == "network"
            plots.accuracy_curves(
                ax,
                p,
                accuracy,
                np.nan_to_num(np.asarray(stderr, float)),
                label=label,
                color=colour,
                marker="o" if trained else "",
                linestyle="" if trained else "-",
                alpha=1.0 if trained else 0.7,
            )


EXPERIMENT = _runner.Experiment(
    name="accuracy_curve",
    config=AccuracyCurve,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=table,
    figure=figure,
    estimate=estimate,
)


if __name__ == "__main__":
    _runner.main(EXPERIMENT)
