"""Label noise on clusters: what is expected of every part, as lines of a table."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.harness.run_directory import Row
from experiments.shared.verdicts import Expected

Arrays = Mapping[str, np.ndarray]


def _expected(*, what: str, own, source: str = "own", **options) -> Expected:
    """A line, of an array over repeats; what no source says is our own expectation."""
    values = np.asarray(own, float).tolist()
    return Expected(what=what, own=values, source=source, **options)


def at(arrays: Arrays, curve: str, step: int) -> np.ndarray:
    """A curve of the repeats at one iteration."""
    return arrays[curve][:, int(np.searchsorted(arrays["steps"], step))]


def log10(values) -> np.ndarray:
    """Logarithms of sizes that may be zero, which is then 1e-20."""
    return np.log10(np.maximum(np.abs(np.asarray(values, float)), 1e-20))


def trajectory(row: Row, arrays: Arrays) -> list[Expected]:
    """Before and after overfitting, of a rectifier."""
    name, early, late = row["activation"], row["early"], row["late"]
    share = np.array(row["flipped"])
    of = lambda curve, step: at(arrays, f"network_{curve}", step)
    with np.errstate(divide="ignore", invalid="ignore"):  # nothing in common early
        overlaps = np.array(row["late_overlap"]) / row["early_overlap"]
    said = lambda text, step: f"{name}, {step}: {text}"
    return [
        _expected(
            what=said("|error, noisy labels - share flipped|", early),
            own=np.abs(of("noisy", early) - share),
            most=0.02,
            source="at the share",
        ),
        _expected(
            what=said("error, true labels", early),
            own=of("truth", early),
            most=0.03,
            source="small",
        ),
        _expected(
            what=said("AUC of the losses, wrong labels", early),
            own=row["early_auc"],
            least=0.98,
            source="apart",
        ),
        _expected(
            what=said("common area of the losses", early),
            own=row["early_overlap"],
            most=0.1,
            source="a gap",
        ),
        _expected(
            what=said("error, noisy labels", late),
            own=of("noisy", late),
            most=0.01,
            source="0",
        ),
        _expected(
            what=said("|error, true labels - share flipped|", late),
            own=np.abs(of("truth", late) - share),
            most=0.02,
            source="at the share",
        ),
        _expected(
            what=said("common area, late/early", late),
            own=overlaps,
            least=3,
            source="overlap",
        ),
        _expected(
            what=said("distance, late/early", late),
            own=of("distance", late) / of("distance", early),
            least=4,
            source="far",
        ),
    ]


def others(rows: Sequence[Row], arrays: Mapping[str, Arrays]) -> list[Expected]:
    """Smooth activations: one overfits as a rectifier does, one does not in time."""
    lines = []
    for row in rows:
        of = arrays[row["key"]]
        noisy, truth = (
            at(of, f"network_{curve}", row["late"]) for curve in ("noisy", "truth")
        )
        what = f"{row['activation']}, {row['late']}: error,"
        if row["activation"] == "tanh":
            lines.append(_expected(what=f"{what} noisy labels", own=noisy, most=0.01))
        if row["activation"] == "softplus":
            lines.append(_expected(what=f"{what} noisy labels", own=noisy, least=0.1))
            lines.append(_expected(what=f"{what} true labels", own=truth, most=0.02))
    return lines


def law(rows: Sequence[Row], arrays: Mapping[str, Arrays]) -> list[Expected]:
    """The infinitely wide network beside finite ones; what widths are expected to do.

    Outputs part as width^-1/2, at a fixed time.
    """
    rows = sorted(rows, key=lambda row: row["width"])
    lines = []
    for row, when in ((rows[-1], "early"), (rows[-1], "late")):
        both = lambda curve, of=arrays[row["key"]], step=row[when]: [
            at(of, f"{route}_{curve}", step) for route in ("limit", "network")
        ]
        limit, network = both("loss")
        what = f"width {row['width']}, {row[when]}: law against network,"
        lines.append(
            _expected(
                what=f"{what} loss, ratio", own=limit / network, least=0.95, most=1.05
            )
        )
        for curve, text in (("truth", "error, true labels"), ("test", "test error")):
            limit, network = both(curve)
            lines.append(
                _expected(
                    what=f"{what} {text}", own=limit - network, least=-0.01, most=0.01
                )
            )
    if len(rows) > 1:
        widths = np.log([row["width"] for row in rows])
        for when in ("early", "late"):
            apart = np.log([at(arrays[row["key"]], "limit_rms", row[when])
                            for row in rows])  # fmt: skip
            lines.append(
                _expected(
                    what=f"{rows[0][when]}: outputs part from the law as width^",
                    own=np.polyfit(widths, apart, 1)[0],
                    least=-0.7,
                    most=-0.3,
                    source="-1/2",
                )
            )
    return lines


def spectra(rows: Sequence[Row]) -> list[Expected]:
    """Singular values by radius: as many large ones as clusters."""
    lines = []
    for row in sorted(rows, key=lambda row: -row["radius"]):
        radius = f"eps0 = {row['radius']:g}:"
        if row["radius"] == 0.5:
            lines += [
                _expected(
                    what=f"{radius} sigma_K/sigma_K+1 at the start",
                    own=row["start_gap"],
                    least=4,
                ),
                _expected(
                    what=f"{radius} values above a tenth, after/before training",
                    own=np.array(row["end_above"]) / row["start_above"],
                    least=0.7,
                    most=1.4,
                    source="alike",
                ),
            ]
        if row["radius"] <= 0.1:
            lines.append(
                _expected(
                    what=f"{radius} values above a tenth of the largest",
                    own=row["start_above"],
                    least=row.get("clusters", 2),
                    most=row.get("clusters", 2),
                )
            )
        lines.append(
            _expected(
                what=f"{radius} in the first K vectors, clean less noise",
                own=np.array(row["clean_energy"]) - row["noise_energy"],
                least=0.4,
            )
        )
    return lines


def distances(rows: Sequence[Row]) -> list[Expected]:
    """Early the distance hardly depends on the flips, late it does."""
    rows = sorted(rows, key=lambda row: row["flip"])
    lines = []
    if len(rows) > 1:
        first, last = rows[0], rows[-1]
        for when, least, most in (("early", -np.inf, 1.3), ("late", 2.5, np.inf)):
            name = f"{when}_distance"
            step = first["early" if when == "early" else "flip_late"]
            lines.append(
                _expected(
                    what=f"{step}: distance at {last['flip']:g} flipped over none",
                    own=np.array(last[name]) / first[name],
                    least=least,
                    most=most,
                )
            )
    if rows:
        ratio = [
            [np.array(row[f"{when}_bound"]) / row[f"{when}_distance"] for row in rows]
            for when in ("early", "late")
        ]
        lines.append(
            _expected(
                what="least distance of theorem 9.3 over distance, the largest",
                own=np.max(ratio, axis=(0, 1)),
                most=1.0,
                source="<= 1",
            )
        )
    return lines


def exact(row: Row) -> list[Expected]:
    """Clusters without radius."""
    last = row["steps"]
    lines = [
        ("log10 |output - mean label of the cluster|", log10(row["from_mean"]), -6),
        ("log10 drift of the residual off S+", log10(row["drift"]), -10),
        ("largest residual, at most 1 - the share flipped", row["residual"],
         1 - row["flip"] + 1e-6),
        ("error, true labels", row["truth"], 0.0),
    ]  # fmt: skip
    if row.get("classes", 2) > 2:  # wrong labels of a cluster are of several kinds
        del lines[2]
    found = [
        _expected(what=f"eps0 = 0, {last}: {what}", own=own, most=most)
        for what, own, most in lines
    ]
    apart = np.array(row["late_distance"]) - row["early_distance"]
    what = f"eps0 = 0: log10 |distance at {last} - at {row['early']}|"
    return [*found, _expected(what=what, own=log10(apart), most=-6)]


def ridges(rows: Sequence[Row], row: Row, arrays: Arrays) -> list[Expected]:
    """The best ridge against the best time to stop, on fresh points."""
    best = np.min([each["network_test"] for each in rows], axis=0)
    stop = arrays["network_test"].min(axis=1)
    return [
        _expected(
            what="test error, best ridge less best stop",
            own=best - stop,
            least=-0.02,
            most=0.02,
        )
    ]


def covariances(rows: Sequence[Row]) -> list[Expected]:
    """Two routes to Sigma(C), and its least eigenvalue."""
    lines = []
    for row in rows:
        name = row["activation"]
        for what, own, most in (
            ("log10 |closed form - quadrature|", log10(row["quadrature"]), -8),
            ("log10 |closed form - Monte Carlo|", log10(row["monte_carlo"]),
             np.log10(2e-3)),
            ("the same in its standard errors, largest", row["errors"], 5),
            ("log10 lambda of coinciding centres", log10(row["coincident"]), -7),
        ):  # fmt: skip
            what = f"Sigma, {name}: {what}"
            lines.append(_expected(what=what, own=own, most=most))
        if name == "relu":
            least = np.array(row["least"])
            what = "Sigma, relu: lambda over nu/(100 K^2), the least"
            lines.append(
                _expected(what=what, own=row["over_bound"], least=1, source=">= 1")
            )
            lines.append(
                _expected(
                    what=f"Sigma, relu: lambda of {row['counts'][-1]} centres over 2",
                    own=least[:, -1] / least[:, 0],
                    least=0.4,
                    source="constant",
                )
            )
    return lines


def theorems(rows: Sequence[Row]) -> list[Expected]:
    """Inequalities that hold always: any excess is a mistake."""
    return [
        _expected(
            what=f"{what}, the largest",
            own=np.max([row[name] for row in rows], axis=0),
            most=1.0,
            source="<= 1",
        )
        for what, name in (
            ("|Pi+ noise| over its bound by diffuseness", "diffuse"),
            ("least |W| of lemma 8.1 over |W|", "pairs"),
        )
    ]
