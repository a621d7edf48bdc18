"""Rows of `snr_scaling` as tables and a figure: cells, exponents, what makes them."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import theory
from experiments.harness.run_directory import Row, RunDirectory
from experiments.laws import size_accuracies
from experiments.shared import reference, routes, settings, snr, tables
from experiments.shared.rows import matching, stored, stored_law
from ntk_corrupt import plots


def _estimates(
    directory: RunDirectory, row: Row, inits: int, draws: int
) -> dict[str, snr.Estimate]:
    """What means of `inits` networks in `draws` draws show of a row."""
    found, labels = stored(directory, row), directory.arrays(row)["labels"]
    if isinstance(found, theory.Draws):
        return {
            quantity: snr.of_draws(found, labels, quantity, inits=inits)
            for quantity in snr.QUANTITIES
        }
    known = None if found.init_var is None else inits
    return {
        quantity: snr.of_law(found, labels, quantity, inits=known, draws=draws)
        for quantity in snr.QUANTITIES
    }


def _rows_of(rows: Sequence[Row], route: str, biases: bool, p: float) -> list[Row]:
    """Rows of a route; those of kernels without biases stand for both."""
    return matching(rows, {"route": route, "p": p, "biases": biases})


@dataclasses.dataclass(frozen=True)
class _Series:
    """ln SNR of one route over training sets."""

    n: np.ndarray
    d: np.ndarray
    log_snr: np.ndarray

    def fits(self) -> str:
        """Exponents over all training sets, over N < d, over N > d, and of N d."""
        parts = []
        for chosen in (np.full(len(self.n), True), self.n < self.d, self.n > self.d):
            found = snr.exponents(self.n[chosen], self.d[chosen], self.log_snr[chosen])
            parts.append(
                f"{'-':>13} {'-':>13}"
                if found is None
                else f"{found.n:>6.2f} ±{found.n_error:<5.2f} "
                f"{found.d:>6.2f} ±{found.d_error:<5.2f}"
            )
        if len(self.n) > 2:
            slope, half, r2 = snr.product_slope(self.n, self.d, self.log_snr)
            parts.append(f"{slope:>6.3f} ±{half:.3f} {r2:>6.3f}")
        return "  ".join(parts)


def _series(estimates, rows: Sequence[Row], quantity: str) -> _Series:
    n, d, y = zip(
        *[
            (row["n_train"], row["pixels"], estimates[row["key"]][quantity].value)
            for row in rows
        ],
        strict=True,
    )
    return _Series(np.array(n), np.array(d), np.array(y))


_HEAD = "".join(f"{name:>28}" for name in ("all", "N < d", "N > d"))
_NAMES = "".join(f"{'N':>14}{'d':>14}" for _ in range(3)) + f"{'N d':>16}{'R2':>7}"


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Ratios of every training set, their exponents, and what makes the law's."""
    config = directory.read_json("config.json")
    inits, draws = config["inits"], config["draws"]
    estimates = {row["key"]: _estimates(directory, row, inits, draws) for row in rows}
    lines = []
    for p, quantity, biases in itertools.product(
        sorted({row["p"] for row in rows}), snr.QUANTITIES, config["trained_biases"]
    ):
        about = (
            f"of the {quantity}, p = {p:g}, biases {'' if biases else 'not '}trained; "
            f"means of {inits} networks, {draws} draws"
        )
        by_route = {
            route: found
            for route in routes.ROUTES
            if (found := _rows_of(rows, route, biases, p))
        }
        lines += ["", f"ln SNR {about}", *_cells(estimates, by_route, quantity)]
        lines += ["", f"exponents {about}", f"{'':<24}{_HEAD}", f"{'':<24}{_NAMES}"]
        lines += [
            f"{route:<24}{_series(estimates, found, quantity).fits()}"
            for route, found in by_route.items()
        ]
    lines += _ingredients(directory, rows, inits, draws)
    lines += _beside_source(estimates, rows)
    lines += size_accuracies.lines(rows, inits)
    return "\n".join([*lines, ""])


def _cells(estimates, by_route, quantity: str) -> list[str]:
    """A line per training set; last, how far laws and kernels are from networks."""
    found = {
        route: {
            (row["n_train"], row["pixels"]): estimates[row["key"]][quantity]
            for row in rows
        }
        for route, rows in by_route.items()
    }
    lines = [
        f"{'N':>6} {'d':>6}"
        + "".join(f"{route:>17}" for route in found)
        + f"{'law - network':>17}"
    ]
    for at in sorted({at for each in found.values() for at in each}):
        text = f"{at[0]:>6} {at[1]:>6}"
        for each in found.values():
            if at not in each:
                text += f"{'-':>17}"
                continue
            value, stderr = each[at]
            text += f"{tables.number(value, stderr, width=9)} "
        gap = _gap(found.get("resummed", {}).get(at), found.get("network", {}).get(at))
        if gap:
            text += f"{gap[0]:>+9.3f} ({gap[0] / gap[1]:+.1f})"
        lines.append(text)
    for of, to, names in _COMPARED:
        gaps = [
            _gap(found.get(of, {}).get(at), y) for at, y in found.get(to, {}).items()
        ]
        gaps = [gap for gap in gaps if gap]
        if gaps:
            within = sum(abs(gap) <= 2 * error for gap, error in gaps)
            lines.append(
                f"{names[0]} within two errors of {names[1]}: {within} of {len(gaps)}"
            )
    return lines


# What is counted: of, to, and how they are called.
_COMPARED = (
    ("resummed", "exact", ("law", "the kernel")),
    ("resummed", "network", ("law", "the networks")),
    ("resummed_lazy", "lazy", ("law of this width", "the kernel of this width")),
    ("resummed_lazy", "network", ("law of this width", "the networks")),
    ("exact", "network", ("kernel", "the networks")),
    ("lazy", "network", ("kernel of this width", "the networks")),
)


def _gap(
    of: snr.Estimate | None, to: snr.Estimate | None
) -> tuple[float, float] | None:
    """The difference of two estimates and its error; a law has none of its own."""
    if of is None or to is None:
        return None
    return of.value - to.value, math.hypot(np.nan_to_num(of.stderr), to.stderr)


def _ingredients(directory, rows: Sequence[Row], inits: int, draws: int) -> list[str]:
    """Exponents of the law as the measurement is built up around it."""
    steps = [
        ("first order, margin", "first_order", "margin", None, None, False),
        ("law, margin", "resummed", "margin", None, None, False),
        (f"+ means of {inits}", "resummed", "margin", inits, None, False),
        (f"+ {draws} draws", "resummed", "margin", inits, draws, False),
        ("+ common to classes", "resummed", "true class", inits, draws, False),
        ("+ trained biases", "resummed", "true class", inits, draws, True),
    ]
    lines = []
    for p in sorted({row["p"] for row in rows}):
        body = []
        for name, route, quantity, m, k, biases in steps:
            chosen = _rows_of(rows, route, biases, p)
            if chosen:
                values = {
                    row["key"]: {
                        quantity: snr.of_law(
                            stored_law(directory, row),
                            directory.arrays(row)["labels"],
                            quantity,
                            inits=m,
                            draws=k,
                        )
                    }
                    for row in chosen
                }
                body.append(f"{name:<24}{_series(values, chosen, quantity).fits()}")
        if body:
            head = f"what makes the exponents, p = {p:g}: the law, with one more of ..."
            lines += ["", head, f"{'':<24}{_HEAD}", f"{'':<24}{_NAMES}", *body]
    return lines


def _beside_source(estimates, rows: Sequence[Row]) -> list[str]:
    """The source's values of ln SNR and exponents; none in another setting."""
    published = reference.read("snr_scaling")
    same = matching(rows, published["setting"])
    lines = []
    for route in routes.ROUTES:
        found = [row for row in same if row["route"] == route]
        for entry in published["values"]:
            for row in found:
                if (row["n_train"], row["pixels"]) == (entry["n"], entry["d"]):
                    value = estimates[row["key"]]["true class"].value
                    lines.append(
                        f"{route:<12} ({entry['n']}, {entry['d']}) "
                        + reference.verdict(entry, value)
                    )
        if len(found) > 3:
            lines.append(
                f"{route:<12} exponents {published['exponents']} | "
                f"{_series(estimates, found, 'true class').fits()}"
            )
    return ["", published["source"], *lines] if lines else []


# Style and name of every route that is drawn.
_STYLES: dict[str, tuple[dict[str, Any], str]] = {
    "resummed": ({"ls": "-"}, "law"),
    "resummed_lazy": ({"ls": (0, (5, 1))}, "law, of this width"),
    "exact": ({"ls": ":"}, "exact kernel"),
    "lazy": ({"ls": "-."}, "exact kernel, of this width"),
    "first_order": ({"ls": "--"}, "first order"),
    "network": ({"ls": "", "marker": "o"}, "networks"),
}


def _has(rows: Sequence[Row], route: str) -> bool:
    return any(row["route"] == route for row in rows)


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Ratios against N d; colours for d, lines for the law, markers for networks."""
    from matplotlib.figure import Figure

    config = directory.read_json("config.json")
    rows = [row for row in rows if row["p"] == rows[0]["p"]]
    estimates = {
        row["key"]: _estimates(directory, row, config["inits"], config["draws"])
        for row in rows
    }
    arms = config["trained_biases"]
    fig = Figure(figsize=(9.0, 3.9 * len(arms)), layout="constrained")
    axes = fig.subplots(len(arms), 2, sharex=True, squeeze=False)
    pixels = sorted({row["pixels"] for row in rows})
    for line, biases in zip(axes, arms, strict=True):
        for ax, quantity in zip(line, snr.QUANTITIES, strict=True):
            for route, (style, _) in _STYLES.items():
                for d, colour in zip(pixels, itertools.cycle(plots.PALETTE)):
                    points = sorted(
                        (row["n_train"] * d, *estimates[row["key"]][quantity])
                        for row in _rows_of(rows, route, biases, rows[0]["p"])
                        if row["pixels"] == d
                    )
                    if points:
                        x, y, error = np.array(points).T
                        ax.errorbar(
                            x, y, np.nan_to_num(error) if route == "network" else None,
                            **style, color=colour, ms=4, capsize=2,
                            label=f"d = {d}" if route == rows[0]["route"] else "_",
                        )  # fmt: skip
            ax.set_xscale("log")
            ax.set_title(
                f"{quantity}, biases {'' if biases else 'not '}trained",
                fontsize="medium",
            )
        line[0].set_ylabel("ln SNR, mean over test images\n(bars: standard error)")
    for ax in axes[-1]:
        ax.set_xlabel("N d")
        products = [row["n_train"] * row["pixels"] for row in rows]
        ax.set_xlim(min(products) / 1.5, max(products) * 1.5)  # one alone has no range
    axes[0, 0].legend(fontsize="small")
    shown = [
        axes[0, 1].plot([], [], **style, color="0.3", ms=4, label=name)[0]
        for style, name in (_STYLES[route] for route in _STYLES if _has(rows, route))
    ]
    axes[0, 1].legend(handles=shown, fontsize="small")
    about = {**rows[0], "n_train": "N", "size": None}
    fig.suptitle(f"{settings.title(about)}, p = {rows[0]['p']:g}", fontsize="medium")
    return fig
