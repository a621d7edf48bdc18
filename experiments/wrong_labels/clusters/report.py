"""Label noise on clusters: the tables of a run and what was expected of it."""

from collections.abc import Sequence

import numpy as np

import theory
from experiments.harness.run_directory import Row, RunDirectory
from experiments.shared import tables
from experiments.shared import verdicts as shared_verdicts
from experiments.wrong_labels.clusters import stage_report
from experiments.wrong_labels.clusters import verdicts as expect
from experiments.wrong_labels.clusters.trajectories import ROUTES
from experiments.wrong_labels.clusters.verdicts import at

# Iterations at which the law stands beside the network.
_SHOWN = (0, 1, 4, 16, 80, 300, 1000, 4500)


def main_rows(rows: Sequence[Row]) -> tuple[list[Row], Row | None]:
    """Rows of the trajectories, and the one that is looked at most: the first."""
    found = [row for row in rows if row["part"] == "training"]
    return found, found[0] if found else None


def sweeps(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows that differ from the first in activation, width or radius alone."""
    found, first = main_rows(rows)
    names = ("activation", "width", "radius")
    return {
        name: [
            row
            for row in found
            if first and all(row[o] == first[o] for o in names if o != name)
        ]
        for name in names
    }


def text(values, digits: int = 3, errors: bool = True) -> str:
    """Mean and standard error over repeats, 16 characters."""
    values = np.asarray(values, float)
    error = theory.standard_error(values) if errors else np.nan
    return f" {tables.number(values.mean(), error, digits=digits).rstrip():>15}"


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Everything that was run, and the verdicts."""
    found, first = main_rows(rows)
    arrays = {row["key"]: directory.arrays(row) for row in found}
    by_part = lambda part: [row for row in rows if row["part"] == part]
    lines, verdicts = [], []
    if first:
        lines += _trajectories(found, arrays) + _law(first, arrays[first["key"]])
        lines += _widths(sweeps(rows)["width"], arrays)
        lines += _spectra(sweeps(rows)["radius"]) + _stopping(found, arrays)
        verdicts += expect.trajectory(first, arrays[first["key"]])
        verdicts += expect.others(sweeps(rows)["activation"], arrays)
        verdicts += expect.law(sweeps(rows)["width"], arrays)
        verdicts += expect.spectra(sweeps(rows)["radius"])
        verdicts += expect.theorems(found)
    if of := by_part("distance"):
        lines += _distances(of)
        verdicts += expect.distances(of)
    for row in by_part("duplicates"):
        verdicts += expect.exact(row)
    if of := by_part("ridge"):
        lines += _ridges(of)
        if first:
            verdicts += expect.ridges(of, first, arrays[first["key"]])
    if of := by_part("covariance"):
        lines += _covariances(of)
        verdicts += expect.covariances(of)
    if of := by_part("bounds"):
        lines += stage_report.bounded(of)
        verdicts += stage_report.bounds_hold(of)
    if of := by_part("radius"):
        lines += stage_report.radii(of)
        verdicts += stage_report.radii_hold(of)
    return "\n".join([*lines, *shared_verdicts.lines(verdicts), ""])


def _head(first: str, names: Sequence[str]) -> str:
    return f"{first:>24}" + "".join(f" {name:>15}" for name in names)


def _trajectories(rows, arrays) -> list[str]:
    lines = ["", "errors, mean and standard error over repeats"]
    names = ("flipped", "noisy", "truth", "test", "distance", "AUC", "overlap")
    for when in ("early", "late"):
        lines += ["", _head(f"iteration {rows[0][when]}", names)]
        for row in rows:
            of = arrays[row["key"]]
            what = f"{row['activation']} {row['width']} eps0 {row['radius']:g}"
            curves = [at(of, f"network_{name}", row[when]) for name in names[1:5]]
            values = [row["flipped"], *curves, row[f"{when}_auc"]]
            values.append(row[f"{when}_overlap"])
            lines.append(f"{what:>24}" + "".join(text(value) for value in values))
    return lines


def _law(row, arrays) -> list[str]:
    """The network, the limit of infinite width, and the network to first order."""
    steps = [step for step in _SHOWN if step in arrays["steps"]]
    steps = steps or [row["early"], row["late"]]
    lines = ["", f"law of gradient flow: {row['activation']}, width {row['width']}"]
    for curve, digits in (
        ("loss", 2), ("noisy", 3), ("truth", 3), ("test", 3), ("distance", 2),
        ("rms", 3),
    ):  # fmt: skip
        what = "outputs part by" if curve == "rms" else curve
        lines += ["", _head(what, [str(step) for step in steps])]
        for route in ROUTES[curve == "rms" :]:
            values = [at(arrays, f"{route}_{curve}", step) for step in steps]
            lines.append(f"{route:>24}" + "".join(text(v, digits) for v in values))
    return lines


def _widths(rows, arrays) -> list[str]:
    lines, names = [], ("loss", "loss, law", "test", "test, law", "outputs part by")
    for when in ("early", "late"):
        lines += ["", _head(f"width, at {rows[0][when]}", names)]
        for row in sorted(rows, key=lambda row: row["width"]):
            of, values = arrays[row["key"]], []
            for curve in ("loss", "test"):
                for route in ROUTES[:2]:
                    values.append(at(of, f"{route}_{curve}", row[when]))
            values.append(at(of, "limit_rms", row[when]))
            lines.append(f"{row['width']:>24}" + "".join(text(v) for v in values))
    return lines


def _spectra(rows) -> list[str]:
    names = ("sigma_K/sigma_K+1", "above .1", "alpha", "beta", "eps")
    lines = ["", _head("Jacobian", names)]
    for row in rows:
        for when in ("start", "end"):
            values = [row[f"{when}_{n}"]
                      for n in ("gap", "above", "alpha", "beta", "eps")]  # fmt: skip
            what = f"eps0 {row['radius']:g}, {when}"
            lines.append(f"{what:>24}" + "".join(text(v, 2) for v in values))
    lines += ["", _head("share of the energy", ("noise", "clean residual"))]
    for row in rows:
        values = row["noise_energy"], row["clean_energy"]
        what = f"eps0 {row['radius']:g}, first K"
        lines.append(f"{what:>24}" + "".join(text(value) for value in values))
    return lines


def _stopping(rows, arrays) -> list[str]:
    """Theorem 2.2 beside the iteration of least test error."""
    names = ("|C|^2", "lambda(C)", "its iterations", "own iterations", "best", "test")
    lines = ["", "theorem 2.2 without its constants, beside the best iteration"]
    lines.append(_head("", names))
    for row in rows:
        of = arrays[row["key"]]
        best = of["steps"][of["network_test"].argmin(axis=1)]
        own = np.array(row["theorem_time"]) / row["rate"]
        values = (
            np.array(row["theorem_norm"]) ** 2, row["theorem_least"],
            row["theorem_iterations"], own, best, of["network_test"].min(axis=1),
        )  # fmt: skip
        what = f"{row['activation']} {row['width']} eps0 {row['radius']:g}"
        lines.append(f"{what:>24}" + "".join(text(value) for value in values))
    return lines


def _distances(rows) -> list[str]:
    names = ("distance", "at least", "by the start")
    lines = []
    for when, step in (("early", "early"), ("late", "flip_late")):
        lines += ["", _head(f"flipped, at {rows[0][step]}", names)]
        for row in rows:
            values = [row[f"{when}_{n}"]
                      for n in ("distance", "bound", "start_bound")]  # fmt: skip
            what = f"{row['flip']:g}"
            lines.append(f"{what:>24}" + "".join(text(v, 2) for v in values))
    return lines


def _ridges(rows) -> list[str]:
    names = ("noisy", "truth", "test", "distance", "test, law")
    lines = ["", _head("ridge", names)]
    for row in rows:
        values = [row[f"network_{name}"] for name in names[:4]]
        values.append(row["limit_test"])
        what = f"{row['ridge']:g}"
        lines.append(f"{what:>24}" + "".join(text(value) for value in values))
    return lines


def _covariances(rows) -> list[str]:
    counts = [f"K = {count}" for count in rows[0]["counts"]]
    lines = ["", _head("lambda(C)", counts)]
    for row in rows:
        values = np.array(row["least"]).T
        lines.append(
            f"{row['activation']:>24}" + "".join(text(value) for value in values)
        )
    return lines
