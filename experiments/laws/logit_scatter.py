"""Logits of networks against predicted ones: settings, constants, table, figure."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

import theory
from experiments.harness.flags import setting
from experiments.harness.run_directory import Row, RunDirectory
from experiments.laws import score_model
from experiments.shared import reference, routes, settings
from experiments.shared.rows import matching, stored
from ntk_corrupt import plots

_PREDICTED, _MEASURED = ("first_order", "resummed", "exact"), ("exact", "network")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogitScatter(routes.Routes):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting((0.97,), "corruption levels in [0, 1]")
    size: int | None = setting(
        28, "side in pixels to resize the images to; or none", most=1024
    )
    draws: int = setting(20, "corruption draws per subset")
    # the offset of the outputs hangs on trained biases
    rates: str = setting("standard", "training rates of the kernels: standard or ntk")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """Outputs of a route at all test points.

    Attributes:
        mean: (n, c) over draws.
        error: mean square error of `mean`, of draws; 0 for a law.
        own_error: the same of what `theory.centred` leaves of it.
        spread: root mean square over points and classes of the standard deviation over
            draws of the mean of `inits` networks; NaN where the route does not know.
    """

    mean: np.ndarray
    error: float
    own_error: float
    spread: float


def outputs(found: theory.OutputLaw | theory.Draws, inits: int | None) -> Outputs:
    """Returns mean and spread of a route, for means of `inits` networks; None is all.

    Trained networks are taken as they are, all initialisations of a draw together.
    """
    if isinstance(found, theory.OutputLaw):
        known = inits is None or found.init_var is not None
        if known and inits is not None:
            found = found.averaged(inits)
        var = np.einsum("nii->ni", np.asarray(found.cov)).mean()
        return Outputs(
            mean=np.asarray(found.mean),
            error=0.0,
            own_error=0.0,
            spread=float(np.sqrt(var)) if known else float("nan"),
        )
    per_draw = np.asarray(found.outputs, float).mean(axis=1)
    mean, draws = per_draw.mean(axis=0), len(per_draw)
    if draws < 2:
        nan = float("nan")
        return Outputs(mean=mean, error=nan, own_error=nan, spread=nan)
    var, own = (
        float(each.var(axis=0, ddof=1).mean())
        for each in (per_draw, theory.centred(per_draw))
    )
    added = 0.0
    if found.init_var is not None and inits is not None:
        of_starts = np.einsum("knii->kni", np.asarray(found.init_class_cov()))
        added = float(of_starts.mean()) / inits
    return Outputs(
        mean=mean, error=var / draws, own_error=own / draws, spread=(var + added) ** 0.5
    )


def _by_level(rows: Sequence[Row]) -> dict[tuple[float, int], dict[str, Row]]:
    found: dict[tuple[float, int], dict[str, Row]] = {}
    for row in rows:
        found.setdefault((row["p"], row["subset"]), {})[row["route"]] = row
    return dict(sorted(found.items()))


def _inits(rows: Sequence[Row]) -> int | None:
    """Networks in the means of this run; None if no networks are trained."""
    return next((row["inits"] for row in rows if "inits" in row), None)


def _outputs(directory, row: Row, inits: int | None) -> Outputs:
    return outputs(stored(directory, row), inits)


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Lines of measured against predicted outputs, then of each against the score."""
    inits = _inits(rows)
    lines = [
        "",
        "measured mean outputs against predicted ones, all test points and classes",
        f"{'p':>6} {'subset':>6}  {'measured':<9} {'predicted':<12} {'slope':>8} "
        f"{'intercept':>10} {'R2':>8} {'rmse':>8}   {'slope':>8} {'R2':>8} "
        "(less what classes share)",
    ]
    groups = _by_level(rows)
    for (p, subset), by_route in groups.items():
        found = {r: _outputs(directory, row, inits) for r, row in by_route.items()}
        for measured in _MEASURED:
            for predicted in _PREDICTED:
                if predicted == measured or not {predicted, measured} <= set(found):
                    continue
                x, y = found[predicted].mean, found[measured]
                line = theory.fit_line(x, y.mean, y.error)
                own = theory.fit_line(
                    theory.centred(x), theory.centred(y.mean), y.own_error
                )
                lines.append(
                    f"{p:>6g} {subset:>6d}  {measured:<9} {predicted:<12} "
                    f"{line.slope:>8.4f} {line.intercept:>10.4f} {line.r2:>8.4f} "
                    f"{line.rmse:>8.4f}   {own.slope:>8.4f} {own.r2:>8.4f}"
                )
    lines += _constants(directory, groups, inits)
    published = reference.read("logit_scatter")
    same = matching(rows, published["setting"])
    if same:
        lines += ["", published["source"]]
        lines += _beside_source(directory, _by_level(same), published)
        lines += _fitted(directory.arrays(same[0]), published)
    return "\n".join([*lines, ""])


def _constants(directory, groups, inits: int | None) -> list[str]:
    means = "all initialisations" if inits is None else f"{inits} networks"
    lines = [
        "",
        f"line against the class-mean score; c of means of {means}",
        f"{'p':>6} {'subset':>6}  {'route':<12} {'a':>8} {'b':>8} {'c':>8} {'rmse':>8}",
    ]
    for (p, subset), by_route in groups.items():
        for route, row in by_route.items():
            a, b, c, rmse = constants(directory, row, inits)
            lines.append(
                f"{p:>6g} {subset:>6d}  {route:<12} {a:>8.4f} {b:>8.4f} {c:>8.4f} "
                f"{rmse:>8.4f}"
            )
    return lines


class Constants(NamedTuple):
    """The line of outputs against the class-mean score, as the source fits it."""

    a: float
    b: float
    c: float
    rmse: float


def constants(directory: RunDirectory, row: Row, inits: int | None) -> Constants:
    """Returns the constants of a computed cell, c of means of `inits` networks."""
    found = _outputs(directory, row, inits)
    line = theory.fit_line(directory.arrays(row)["scores"], found.mean)
    return Constants(line.slope, line.intercept, found.spread, line.rmse)


def _beside_source(directory, groups, published) -> list[str]:
    lines = []
    for by_route in groups.values():
        for route, row in by_route.items():
            # networks have the averages they were trained for
            inits = row.get("inits", published["inits"])
            own = constants(directory, row, inits)._asdict()
            if "outputs" not in directory.arrays(row):
                # the source's means are over draws, whose noise a law does not have
                noise = own["c"] / published["draws"] ** 0.5
                own["rmse"] = float(np.hypot(own["rmse"], noise))
            lines += [
                f"{row['p']:>6g}  {route:<12} {entry['quantity']:<5} "
                + reference.verdict(entry, own[entry["quantity"]])
                + (f" (means of {inits})" if inits != published["inits"] else "")
                for entry in published["values"]
                if np.isfinite(own[entry["quantity"]])
            ]
    return lines


def _fitted(arrays: Mapping[str, np.ndarray], published) -> list[str]:
    """Accuracy of the model with the source's constants, here and in the source."""
    entries = published["model"]
    a, c = (
        next(each["value"] for each in published["values"] if each["quantity"] == name)
        for name in ("a", "c")
    )
    own = score_model.fitted_accuracies(
        arrays["scores"], arrays["labels"], [each["p"] for each in entries], a, c
    )
    toy, once = score_model.toy_accuracies([each["p"] for each in entries])
    error = [(value * (1 - value) / len(arrays["labels"])) ** 0.5 for value in own]
    return [
        "",
        published["model_source"] + "; +-: of these test images; toy: m(p), s(p)",
        *(
            f"{entry['p']:>6g}  model        {reference.verdict(entry, value)}, "
            f"+- {spread:.3f}; networks {entry['networks']:.3f}; toy {m:.3f}, {s:.3f}"
            for entry, value, spread, m, s in zip(
                entries, own, error, toy, once, strict=True
            )
        ),
    ]


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Measured against predicted outputs, one panel for each pair; highest level."""
    from matplotlib.figure import Figure

    (p, _), by_route = list(_by_level([r for r in rows if r["subset"] == 0]).items())[
        -1
    ]
    found = {r: _outputs(directory, row, None) for r, row in by_route.items()}
    pairs = [
        (m, q) for m in _MEASURED for q in _PREDICTED if q != m and {m, q} <= set(found)
    ]
    fig = Figure(figsize=(2.9 * max(len(pairs), 1), 3.4), layout="constrained")
    if pairs:
        labels = directory.arrays(by_route[pairs[0][0]])["labels"]
        true = np.eye(found[pairs[0][0]].mean.shape[1], dtype=bool)[labels]
    for ax, (measured, predicted) in zip(
        np.ravel(fig.subplots(1, len(pairs))) if pairs else (), pairs, strict=True
    ):
        x, y = found[predicted].mean, found[measured].mean
        for chosen, colour, name in (
            (~true, plots.PALETTE[0], "other classes"),
            (true, plots.PALETTE[1], "true class"),
        ):
            ax.plot(
                x[chosen], y[chosen], ".", color=colour, ms=1.5, alpha=0.4, label=name,
                rasterized=True,
            )  # fmt: skip
        ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
        ax.plot(ends, ends, color="0.4", linewidth=1)
        ax.set_xlabel(f"{predicted.replace('_', ' ')}: mean output")
        ax.set_ylabel(f"{measured}: mean output")
    if pairs:
        fig.axes[0].legend(markerscale=6, fontsize="small")
    fig.suptitle(f"{settings.title(rows[0])}, p = {p:g}", fontsize="medium")
    return fig
