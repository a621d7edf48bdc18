"""What clusters alone say of a descent: tables, and what is expected of them."""

from collections.abc import Sequence

import numpy as np

import theory
from experiments.harness.run_directory import Row
from experiments.shared import tables
from experiments.shared.verdicts import Expected

_PROVED = "<= 1, proved"
# How far the error of a rule may lie above that of the best time.
_NEAR = 0.02


def _text(values, digits: int = 3) -> str:
    """Mean and standard error over repeats, 16 characters; a dash for none."""
    values = np.array(values, float)
    if not np.isfinite(values).all():
        return f" {'-':>15}"
    error = theory.standard_error(values)
    return f" {tables.number(values.mean(), error, digits=digits).rstrip():>15}"


def _head(first: str, names: Sequence[str]) -> str:
    return f"{first:>24}" + "".join(f" {name:>15}" for name in names)


def _name(row: Row) -> str:
    return f"{row['activation']} {row.get('width', '')} eps0 {row['radius']:g}"


def bounded(rows: Sequence[Row]) -> list[str]:
    """Alpha, beta, eps beside their bounds, the width, and the first stage."""
    ends = ("alpha", "beta", "eps")
    names = ("alpha", "at least", "beta", "at most", "eps", "at most")
    lines = ["", "at the start, and what clusters alone say", _head("", names)]
    for row in rows:
        both = [row[f"{of}_{end}"] for end in ends for of in ("start", "bound")]
        lines.append(f"{_name(row):>24}" + "".join(_text(v, 2) for v in both))
    names = ("beta eps/alpha^2", "first stage", "best", "width asked", "if moved")
    lines += ["", _head("iterations; widths", names)]
    for row in rows:
        values = [row[n] for n in ("fed", "stage", "best_step", "width_asked",
                                   "width_moved")]  # fmt: skip
        digits = (2, 1, 0, 0, 0)
        lines.append(
            f"{_name(row):>24}"
            + "".join(_text(v, d) for v, d in zip(values, digits, strict=True))
        )
    rules = {"best": "best", "budget": "E+/beta", "fixed": "distance .3",
             "stage": "first stage"}  # fmt: skip
    names = [
        *(f"{name}, test" for name in rules.values()),
        *("E+/beta at", "is", "best in it"),
    ]
    lines += ["", _head("where rules stop", names)]
    for row in rows:
        values = [row[f"{rule}_test"] for rule in rules]
        line = "".join(_text(v) for v in values)
        lines.append(
            f"{_name(row):>24}{line}{_text(row['budget_step'], 1)}"
            f"{_text(row['budget'], 2)}"
            f"{_text(np.divide(row['best_distance'], row['budget']), 1)}"
        )
    return lines


def bounds_hold(rows: Sequence[Row]) -> list[Expected]:
    """Inequalities that are proved, the exponent of eps, rules against the best."""
    lines = []
    largest = lambda what, ratios, **how: Expected(
        what=f"{what}, the largest",
        own=np.max(ratios, axis=0).tolist(),
        most=1.0,
        **how,
    )
    over = lambda one, two: [
        np.array(row[one], float) / np.array(row[two], float) for row in rows
    ]
    lines.append(
        largest("alpha's bound over alpha", over("bound_alpha", "start_alpha"),
                source=_PROVED)
    )  # fmt: skip
    for end in ("beta", "eps"):
        ratios = np.nan_to_num(np.array(over(f"start_{end}", f"bound_{end}")), nan=0.0)
        lines.append(largest(f"{end} over its bound", ratios, source=_PROVED))
    for route, what, source in (
        ("first", "to first order", _PROVED),
        ("network", "network", "4.1, 9.2: bounded"),
    ):
        for name in ("plus", "drift", "distance"):
            said = {"plus": "|r+|", "drift": "drift of r-", "distance": "|W - W0|"}
            ratios = [row[f"{route}_{name}"] for row in rows]
            lines.append(
                largest(f"{what}: {said[name]} over its bound", ratios, source=source)
            )
    return [*lines, *_exponents(rows), *_rules(rows)]


def _exponents(rows: Sequence[Row]) -> list[Expected]:
    """Eps falls as the radius does, of slopes that are smooth."""
    lines = []
    for name in dict.fromkeys(row["activation"] for row in rows):
        of = [row for row in rows if row["activation"] == name]
        if len(of) < 2 or None in of[0]["bound_eps"]:
            continue
        slopes = np.polyfit(
            np.log([row["radius"] for row in of]),
            np.log([row["start_eps"] for row in of]),
            1,
        )[0]
        lines.append(
            Expected(
                what=f"{name}: eps grows as eps0^",
                own=slopes.tolist(),
                least=0.8,
                most=1.2,
                source="2.2: in eps0",
            )
        )
    return lines


def _rules(rows: Sequence[Row]) -> list[Expected]:
    lines = []
    for row in rows:
        best = np.array(row["best_test"])
        for rule, what in (("budget", "E+/beta"), ("fixed", "relative distance .3")):
            lines.append(
                Expected(
                    what=f"{_name(row)}: test, stop at {what} less best",
                    own=(np.array(row[f"{rule}_test"]) - best).tolist(),
                    most=_NEAR,
                    source="own",
                )
            )
    return lines


def radii(rows: Sequence[Row]) -> list[str]:
    """Distance at which all wrong labels are learned, over the radius."""
    names = ("learned all", "iteration", "distance", "at least", "law, at least",
             "lemma 8.1", "|W0|")  # fmt: skip
    head = f"{rows[0]['n']} points, {rows[0]['flip']:g} flipped"
    lines = ["", _head(head, names)]
    for row in rows:
        values = [row[n] for n in ("fitted", "step", "distance", "least", "law",
                                   "lemma", "size")]  # fmt: skip
        digits = (2, 0, 2, 2, 2, 2, 1)
        lines.append(
            f"{_name(row):>24}"
            + "".join(_text(v, d) for v, d in zip(values, digits, strict=True))
        )
    return lines


def radii_hold(rows: Sequence[Row]) -> list[Expected]:
    """Pairs of points cost a distance; how it grows as the radius falls."""
    lines = [
        Expected(
            what="least distance of pairs over distance, the largest",
            own=np.max([np.divide(r["least"], r["distance"]) for r in rows],
                       axis=0).tolist(),
            most=1.0,
            source=_PROVED,
        )
    ]  # fmt: skip
    for name in dict.fromkeys(row["activation"] for row in rows):
        of = [row for row in rows if row["activation"] == name]
        if len(of) < 2:
            continue
        grid = np.log([row["radius"] for row in of])
        for route, what in (("law", "law"), ("distance", "network")):
            slope = np.polyfit(grid, np.log([row[route] for row in of]), 1)[0]
            # a kink tells points apart by the angle between them, not its square
            kinked = name in ("relu", "leaky_relu")
            middle = -0.5 if kinked else -1.0
            lines.append(
                Expected(
                    what=f"{name}, {what}: distance of wrong labels as eps0^",
                    own=slope.tolist(),
                    least=middle - 0.2,
                    most=middle + 0.2,
                    source="own, kink" if kinked else "2.3, 12.1: 1/eps0",
                )
            )
    return lines
