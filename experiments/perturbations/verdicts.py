"""What is expected of `adversarial_learning`, and the published curves beside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.harness.run_directory import Row
from experiments.perturbations import settings as plan
from experiments.perturbations.settings import AdversarialLearning
from experiments.shared.reference import read
from experiments.shared.verdicts import Expected

Panels = dict[str, list[tuple[Any, Row]]]
_SLACK = 0.02
# (data set, scenario): least accuracy and agreement of g, range of the control without
# perturbations, range of |cos|, what the source says of each
_GOALS: dict[tuple[str, str], dict[str, Any]] = {
    ("shifted", "alone"): {
        "at": {"d": 100, "eps": 0.01, "n": 1000},
        "acc_g": (0.95, 1.0),
        "agreement": (0.95, 1.0),
        "control": (0.45, 0.55),
        "cosine": (0.98, 1.0),
        "source": {"acc_g": ".99", "agreement": ".99", "cosine": ">= .99"},
    },
    ("shifted", "added"): {
        "at": {"d": 500, "eps": 0.66, "n": 2000},
        "acc_g": (0.97, 1.0),
        "control": (0.42, 0.58),
        "cosine": (0.98, 1.0),
        "source": {"acc_g": ".98-1", "cosine": ">= .99"},
    },
    ("gauss", "alone"): {
        "at": {"d": 1000, "n": 1000, "eps": 0.1},
        "acc_g": (0.777, 0.877),
        "cosine": (0.91, 0.96),
        "source": {"cosine": ".91-.96"},
    },
    ("gauss", "added"): {
        "at": {"d": 1000, "n": 1000, "eps": 3.16},
        "acc_g": (0.774, 0.874),
        "control": (0.42, 0.58),
        "cosine": (0.91, 0.96),
        "source": {"cosine": ".91-.96"},
    },
    # a control after arXiv 2402.10470, of which we read the abstract: goals are ours
    ("orthogonal", "alone"): {
        "at": {"d": 500, "n": 500, "eps": 0.1},
        "acc_g": (0.95, 1.0),
        "control": (0.42, 0.58),
        "source": {"acc_g": "none; ours"},
    },
    ("mnist", "alone"): {
        "at": {"n": 4000, "eps": 0.14},
        "acc_g": (0.88, 1.0),
        "cosine": (0.92, 0.98),
        "source": {"acc_g": ".96", "cosine": "about .95"},
    },
    ("mnist", "added"): {
        "at": {"n": 4000, "eps": 0.28},
        "acc_g": (0.90, 1.0),
        "control": (0.42, 0.58),
        "cosine": (0.92, 0.98),
        "source": {"acc_g": ".93 (.14)", "cosine": "about .95"},
    },
}
_WORDS = {
    "acc_g": "accuracy of g on the inputs of f",
    "agreement": "decisions of f and g alike",
    "cosine": "|cos| of D(x_n) and the perturbation",
}


def _first(row: Row, name: str) -> list[float]:
    values = np.array(row[name], float)
    return values.reshape(len(values), -1)[:, 0].tolist()


def expected(
    config: AdversarialLearning, panels: Panels, rows: Sequence[Row]
) -> list[Expected]:
    """Returns what the run can be held against; numbers are of the first rates."""
    found = [
        Expected(
            what="largest error of Phi against 100 000 samples",
            own=row["phi_error"],
            most=5e-3,
            source="(P1)",
        )
        for row in rows
        if row["kind"] == "phi"
    ]
    variants = dict(panels["variants"])
    goal = _GOALS.get((config.dataset, config.scenario))
    at = plan.base(config)
    applies = goal and all(at.get(name) == value for name, value in goal["at"].items())
    if goal and applies and config.loss == "identity" and "base" in variants:
        for name, what in _WORDS.items():
            if name in goal:
                least, most = goal[name]
                own, source = _first(variants["base"], name), goal["source"].get(name)
                found.append(
                    Expected(
                        what=what, own=own, least=least, most=most, source=source or "-"
                    )
                )
        control = variants.get(f"eps 0, {config.targets}")
        if control and "control" in goal:
            least, most = goal["control"]
            found.append(
                Expected(
                    what=f"accuracy of g, eps = 0, {config.targets} targets",
                    own=_first(control, "acc_g"),
                    least=least,
                    most=most,
                    source=".5",
                )
            )
    if config.dataset == "shifted":
        found += [
            _monotone(name, panels[name])
            for name in ("d", "eps")
            if len(panels.get(name, ())) > 1
        ]
    return found


def _monotone(name: str, points: list[tuple[Any, Row]]) -> Expected:
    means = np.array([np.mean(_first(row, "acc_g")) for _, row in points])
    return Expected(
        what=f"largest fall of the mean accuracy of g over {name}",
        own=[float(max(0.0, (means[:-1] - means[1:]).max()))],
        most=_SLACK,
        source="rises",
    )


def reference(config: AdversarialLearning, panels: Panels) -> list[str]:
    """Returns the published curves of the run's setting beside medians of its own.

    The best of the rates, as the source has it; |cos| at the first rate of f.
    """
    told, at, found = read("adversarial_learning"), plan.base(config), []
    tolerance = told["tolerance"]
    for curve in told["curves"]:
        setting = curve["setting"]
        if any(at.get(name) != value for name, value in setting.items()):
            continue
        own = dict(panels.get(curve["panel"], ()))
        for name in ("acc_f", "acc_g", "agreement", "cosine"):
            for value, source in zip(
                curve["values"], curve.get(name, ()), strict=False
            ):
                if value in own:
                    found.append(
                        _beside(curve["panel"], value, name, source, own[value])
                        + _verdict(source, own[value], name, tolerance)
                    )
    if not found:
        return []
    head = f"{'panel':<10}{'value':>8}  {'quantity':<10}{'source':>8}  own, best rates"
    return ["", told["source"], head, *found]


def _own(row: Row, name: str) -> np.ndarray:
    if name == "cosine":
        return np.array(_first(row, name))
    values = np.array(row[name], float)
    return values.reshape(len(values), -1).max(axis=1)


def _beside(panel: str, value: float, name: str, source: float, row: Row) -> str:
    own = _own(row, name)
    said = f"{np.median(own):.3f} [{own.min():.3f}, {own.max():.3f}]"
    return f"{panel:<10}{value:>8g}  {name:<10}{source:>8.3f}  {said:<24}"


def _verdict(source: float, row: Row, name: str, tolerance: float) -> str:
    within = abs(float(np.median(_own(row, name))) - source) <= tolerance
    return f"tolerance {tolerance:.2f}: {'within' if within else 'MISSED'}"
