"""Networks beside their kernel, step by step: the table and the figure."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

import theory
from experiments.harness.run_directory import Row, RunDirectory
from experiments.laws import why_not_the_kernel as ladder
from experiments.shared import routes, settings, snr, tables
from experiments.shared.rows import pool, stored_draws
from ntk_corrupt import plots
from theory.routes.of_width import LARGEST_REMAINDER


def mean_outputs(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Outputs of a cell averaged over draws and networks, (n, c)."""
    if "mean" in arrays:
        return arrays["mean"]
    return np.asarray(arrays["outputs"], float).mean(axis=(0, 1))


def offset(arrays: Mapping[str, np.ndarray]) -> float:
    """The constant b of mean outputs = a score + b over all points and classes."""
    return theory.fit_line(arrays["scores"], mean_outputs(arrays)).intercept


@dataclasses.dataclass(frozen=True)
class Rung:
    """One step of one kind of network at one level: its rows, by training subset."""

    p: float
    kind: str
    route: str
    rows: Mapping[int, Row]

    def accuracy(self, inits: str = "1") -> tuple[float, float] | None:
        """Accuracy of means of `inits` networks, and its error."""
        return pool(list(self.rows.values()), inits)

    @property
    def in_range(self) -> bool:
        """Whether the law of a width says that it can be believed."""
        shares = [row.get("mean_remainder", 0.0) for row in self.rows.values()]
        return max(shares) <= LARGEST_REMAINDER

    def step(self, before: "Rung | None") -> tuple[float, float] | None:
        """Accuracy of one network less that of the step before, on the same images."""
        if before is None:
            return None
        differences = [
            {
                "accuracies": {
                    "1": np.asarray(row["accuracies"]["1"])
                    - np.asarray(before.rows[subset]["accuracies"]["1"])
                }
            }
            for subset, row in self.rows.items()
            if subset in before.rows
        ]
        return pool(differences, "1")


def _settings(rows: Sequence[Row]) -> dict[str, dict]:
    """Settings of every kind of network, from its own rows."""
    return {row["kind"]: dict(row) for row in rows if row.get("kind")}


# Settings that decide some of the steps that are not trained.
_OTHERS = (
    *("rates", "width", "parametrisation", "biases", "batch_size"),
    *("draws", "inits"),
)


def _shared(route: str, of: Mapping, row: Row) -> bool:
    """Whether a row without a kind is that step of a kind of network."""
    if route == "adam" and of["optimiser"] != "adam":
        return False
    names = (*settings.DATA, *settings.ARCHITECTURE, *_OTHERS)
    asked = {**of, "rates": of["parametrisation"]}
    # a row holds the settings that decide its numbers, and no others
    return row["route"] == route and all(row[n] == asked[n] for n in names if n in row)


def rungs(rows: Sequence[Row]) -> Iterator[tuple[float, str, dict[str, Rung]]]:
    """Yields level, kind and steps that are there, in their order."""
    kinds = _settings(rows)
    for p in sorted({row["p"] for row in rows}):
        for kind, of in kinds.items():
            found = {}
            for route in (*ladder.STEPS, "final", "resummed", "first_order"):
                own = [
                    row
                    for row in rows
                    if row["p"] == p
                    and row["route"] == route
                    and (
                        row["kind"] == kind
                        if "kind" in row
                        else _shared(route, of, row)
                    )
                ]
                if own:
                    by_subset = {row["subset"]: row for row in own}
                    found[route] = Rung(p, kind, route, by_subset)
            if found:
                yield p, kind, found


def before(found: Mapping[str, Rung], route: str) -> Rung | None:
    """Returns the last step that is there before one; the final kernel's is the first.

    What `final` is compared with is the kernel at the start.
    """
    if route == "final":
        return found.get("linearised")
    if route not in ladder.STEPS:
        return None
    earlier = [s for s in ladder.STEPS[: ladder.STEPS.index(route)] if s in found]
    return found[earlier[-1]] if earlier else None


def init_variance(draws: theory.Draws) -> float:
    """Variance over initialisations, mean over points and classes; NaN if unknown."""
    if draws.init_var is not None:
        own = np.asarray(draws.init_class_cov(), float)
        return float(np.einsum("knii->kni", own).mean())
    outputs = np.asarray(draws.outputs, float)
    if outputs.shape[1] < 2:
        return float("nan")
    return float(outputs.var(axis=1, ddof=1).mean())


def _shows(directory: RunDirectory, rung: Rung, reference: Rung | None) -> dict:
    """Numbers of a step beside its accuracies: means over subsets."""
    each = []
    for subset, row in rung.rows.items():
        arrays = directory.arrays(row)
        found = {
            "b": offset(arrays),
            "loss": row.get("mean_train_loss", np.nan),
            "remainder": row.get("mean_remainder", np.nan),
        }
        if "outputs" in arrays:
            draws = stored_draws(directory, row)
            labels = np.asarray(arrays["labels"], int)
            found["variance"] = init_variance(draws)
            if draws.outputs.shape[0] > 1:
                own = snr.of_draws(draws, labels, "true class", inits=1)
                found["snr"] = own.value
        if reference is not None and subset in reference.rows and rung is not reference:
            kernel = mean_outputs(directory.arrays(reference.rows[subset]))
            line = theory.fit_line(
                theory.centred(kernel), theory.centred(mean_outputs(arrays))
            )
            found |= {"slope": line.slope, "r2": line.r2}
        each.append(found)
    names = set.intersection(*(set(found) for found in each))
    means = {name: float(np.mean([found[name] for found in each])) for name in names}
    return {name: mean for name, mean in means.items() if np.isfinite(mean)}


_COLUMNS = (
    ("variance", "var", "9.4f"),
    ("remainder", "1/n", "6.2f"),
    ("slope", "slope", "8.3f"),
    ("r2", "R2", "8.3f"),
    ("b", "b", "8.3f"),
    ("snr", "ln SNR", "8.2f"),
    ("loss", "loss", "10.1e"),
)


def _width(form: str) -> int:
    return int(form.split(".")[0])


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Every step of every kind of network, with what it adds to the one before."""
    inits = next((str(row["inits"]) for row in rows if "inits" in row), "1")
    heads = f"{'one network':>16}{'step':>16}{f'mean of {inits}':>16}"
    heads += "".join(f"{head:>{_width(form)}}" for _, head, form in _COLUMNS)
    lines = [
        "",
        "from the kernel to the network, on the same corrupted images: accuracy of one",
        "network, what each step adds, variance over initialisations (1/n: share of it",
        f"known to a third; above {LARGEST_REMAINDER:g} the law of a width is out of "
        "its range), line of",
        "the mean outputs against the kernel's less what classes share, offset, signal",
        "to noise of the true class",
    ]
    for p, kind, found in rungs(rows):
        lines += ["", f"p = {p:g}, {kind:<32}{heads}"]
        for route, rung in found.items():
            shows = _shows(directory, rung, found.get("exact"))
            label = routes.ROUTES[route].label
            earlier = before(found, route)
            step = tables.text(rung.step(earlier)) if earlier else f"{'':>16}"
            one, mean = (tables.text(rung.accuracy(size)) for size in ("1", inits))
            text = f"  {label:<{len(f'p = {p:g}, ') + 30}}"
            text += one + step + mean
            for name, _, form in _COLUMNS:
                blank = f"{'':>{_width(form)}}"
                text += f"{shows[name]:>{form}}" if name in shows else blank
            lines.append(text.rstrip())
    return "\n".join([*lines, ""])


def _waterfall(ax, found: Mapping[str, Rung]) -> None:
    """Accuracy of every step, and the bar by which it differs from the one before."""
    for at, (route, rung) in enumerate(found.items()):
        accuracy = rung.accuracy()
        if accuracy is None:
            continue
        earlier, step = before(found, route), None
        if earlier is not None:
            step, start = rung.step(earlier), earlier.accuracy()
        if step is not None and start is not None:
            up = step[0] >= 0
            ax.bar(
                at, step[0], bottom=start[0], width=0.7, alpha=0.5,
                color=plots.PALETTE[2 if up else 3],
            )  # fmt: skip
            ax.annotate(
                f"{100 * step[0]:+.1f}", (at, max(start[0], start[0] + step[0])),
                ha="center", va="bottom", fontsize="x-small",
                xytext=(0, 3), textcoords="offset points",
            )  # fmt: skip
        error = step[1] if step is not None else accuracy[1]
        ax.errorbar(
            at, accuracy[0], yerr=2 * np.nan_to_num(error), fmt="o", ms=4,
            color="0.2" if route in ladder.STEPS else "0.6",
            fillstyle="full" if rung.in_range else "none",
        )  # fmt: skip
    names = [routes.ROUTES[route].label for route in found]
    ax.set_xticks(range(len(found)), labels=names, rotation=60, ha="right")
    ax.tick_params(axis="x", labelsize="x-small")


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """What each step from the kernel to the network adds, in points of accuracy."""
    from matplotlib.figure import Figure

    every = list(rungs(rows))
    levels = list(dict.fromkeys(p for p, _, _ in every))
    kinds = list(dict.fromkeys(kind for _, kind, _ in every))
    fig = Figure(
        figsize=(2.1 * max(len(kinds), 2) + 0.8, 2.6 * len(levels) + 2.2),
        layout="constrained",
    )
    if not every:
        return fig
    axes = fig.subplots(
        len(levels), len(kinds), squeeze=False, sharex=True, sharey="row"
    )
    for p, kind, found in every:
        ax = axes[levels.index(p)][kinds.index(kind)]
        _waterfall(ax, found)
        if p == levels[0]:
            ax.set_title(kind, fontsize="small")
        if kind == kinds[0]:
            ax.set_ylabel(f"p = {p:g}\naccuracy of one network")
    fig.suptitle(
        f"{settings.title(rows[0])}\nbars: change by a step, in points; two "
        "errors\nopen: law out of its range",
        fontsize="small",
    )
    return fig
