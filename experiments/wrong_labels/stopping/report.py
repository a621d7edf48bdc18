"""Rows of networks trained on wrong labels: accuracies, rules, splits, distances."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

import theory
from experiments.harness.run_directory import Row, RunDirectory
from experiments.shared import tables
from experiments.shared.verdicts import Expected, lines
from experiments.wrong_labels.stopping import jacobian_report
from ntk_corrupt.curves import crossings
from ntk_corrupt.label_noise import stopping

# Accuracy on the noisy training labels at which distances are compared.
FITTED = 0.99
_TOLERANCE, _BUDGET, _PATIENCE = 0.1, jacobian_report.FIXED, 5
RULES: dict[str, Callable[[dict[str, np.ndarray]], int]] = {
    "noisy validation": lambda path: stopping.noisy_validation(path["valid"]),
    f"the same, patience {_PATIENCE}": lambda path: stopping.noisy_validation(
        path["valid"], patience=_PATIENCE
    ),
    f"loss gap {_TOLERANCE:g}": lambda path: stopping.loss_gap(
        path["loss"], path["valid_loss"], tolerance=_TOLERANCE
    ),
    f"distance {_BUDGET:g}": lambda path: stopping.distance_budget(
        path["distance"], _BUDGET
    ),
    "oracle": lambda path: stopping.oracle(path["test"]),
    "never": lambda path: len(path["test"]) - 1,
}
# What is expected: the least gain on test images and on true training labels, how near
# the accuracy on noisy labels is to 1 - (1 - 1/classes) share, what the oracle adds.
_GAINS, _TRUTH, _NEAR, _ORACLE = {0.25: 0.05, 0.5: 0.15, 0.75: 0.25}, 0.1, 0.08, 0.02
_AUC = 0.95
# At the size of the source.
_FULL, _FULL_TEST, _FULL_TRUTH = 40_000, 0.95, 0.97


class Group(NamedTuple):
    """Rows of one model and loss, by share, in the order of repeats."""

    model: str
    loss: str
    rows: dict[float, list[Row]]

    @property
    def name(self) -> str:
        """For the reader."""
        said = "infinite width" if self.model == "kernel" else self.model
        return f"{said}, {self.loss.replace('_', ' ')}" if self.loss else said


def groups(rows: Sequence[Row]) -> list[Group]:
    """Returns the rows by model and loss, kernels last."""
    found: dict[tuple[str, str], Group] = {}
    for row in rows:
        of = row["model"], row.get("loss", "")
        group = found.setdefault(of, Group(*of, {}))
        group.rows.setdefault(row["share"], []).append(row)
    return sorted(found.values(), key=lambda group: group.model == "kernel")


def numbers(rows: Sequence[Row], *names: str) -> np.ndarray:
    """Returns a number of every row, by its name and the names inside; NaN for null."""
    values = []
    for value in rows:
        for name in names:
            value = value[name]
        values.append(value)
    return np.array(values, float)


def text(values: np.ndarray) -> str:
    """Mean and standard error, 15 characters; a dash if a repeat has no number."""
    if np.isnan(values).any():
        return f"{'-':>15}"
    return tables.number(values.mean(), theory.standard_error(values), width=8)


def distance_at(path: dict[str, np.ndarray], level: float = FITTED) -> float:
    """Distance at which the noisy labels are first fitted so well; NaN if never."""
    return float(crossings.first_crossing(path["distance"], -path["noisy"], -level))


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Accuracies at the stop and without, rules, splits, distances, expectations."""
    found = _side_by_side(groups(rows))
    for group in groups(rows):
        found += ["", f"{group.name}, accuracy; mean and standard error over repeats"]
        shares = "".join(f"{share:>15g}" for share in group.rows)
        found.append(f"{'share of labels replaced':<36}{shares}")
        found += _accuracies(group)
        if group.model == "kernel":
            found.append(_times(directory, group))
            continue
        paths = {
            share: [directory.arrays(row) for row in of]
            for share, of in group.rows.items()
        }
        found += _rules(paths, group)
        found += _distances(paths)
        found += _splits(group)
        found += jacobian_report.table(group.rows, paths)
        found += lines(
            [*_expected(group, paths), *jacobian_report.expected(group.rows, paths)]
        )
    return "\n".join([*found, ""])


def _side_by_side(found: Sequence[Group]) -> list[str]:
    """Test accuracies of all, a line per share."""
    said = ["", "test accuracy: stopped by noisy validation, at the best step, at last"]
    said.append(f"{'replaced':>8}" + "".join(f"{each.name:>46}" for each in found))
    for share in sorted({share for each in found for share in each.rows}):
        entries = [
            text(numbers(each.rows[share], f"at_{at}", "test"))
            if share in each.rows
            else f"{'-':>15}"
            for each in found
            for at in ("stop", "oracle", "end")
        ]
        thirds = ["".join(entries[k : k + 3]) for k in range(0, len(entries), 3)]
        said.append(f"{share:>8g}" + "".join(f"{third:>46}" for third in thirds))
    return said


def _times(directory: RunDirectory, group: Group) -> str:
    """When noisy validation stops a kernel."""
    columns = []
    for of in group.rows.values():
        times = [directory.arrays(row)["time"][row["stop"]] for row in of]
        columns.append(f"{np.median(times):>15.3g}")
    return f"{'time of the stop, median':<36}" + "".join(columns)


def _line(name: str, columns: Sequence[np.ndarray]) -> str:
    return f"{name:<36}" + "".join(text(values) for values in columns)


def _accuracies(group: Group) -> Iterator[str]:
    what = {
        "noisy": "noisy training labels",
        "truth": "true training labels",
        "test": "test",
    }
    ends = {"stop": "stopped", "end": "at the end", "oracle": "oracle"}
    for name, said in what.items():
        for at, when in ends.items():
            if at == "oracle" and name != "test":
                continue
            columns = [numbers(of, f"at_{at}", name) for of in group.rows.values()]
            yield _line(f"{said}, {when}", columns)


def _rules(paths: dict[float, list[dict[str, np.ndarray]]], group: Group):
    yield ""
    yield "by rule: test accuracy, and the epoch (median, range)"
    for name, rule in RULES.items():
        epochs = [[rule(path) for path in of] for of in paths.values()]
        columns = [
            np.array([path["test"][e] for path, e in zip(of, chosen, strict=True)])
            for of, chosen in zip(paths.values(), epochs, strict=True)
        ]
        yield _line(name, columns)
        said = [f"{np.median(e):g} ({min(e)}-{max(e)})" for e in epochs]
        yield f"{'':<36}" + "".join(f"{each:>15}" for each in said)


def _distances(paths: dict[float, list[dict[str, np.ndarray]]]) -> Iterator[str]:
    yield ""
    yield "distance from the start, over its norm"
    what = {
        "stopped": lambda path: path["distance"][RULES["noisy validation"](path)],
        f"{FITTED:g} of the noisy labels fitted": distance_at,
        "at the end": lambda path: path["distance"][-1],
    }
    for name, of in what.items():
        columns = [np.array([of(path) for path in each]) for each in paths.values()]
        yield _line(name, columns)


def _splits(group: Group) -> Iterator[str]:
    for at, when in (("stop", "stopped"), ("end", "at the end")):
        yield ""
        yield f"wrong labels by their loss, {when}"
        said = {
            "area under the ROC curve": ("auc",),
            "threshold, precision": ("threshold", "precision"),
            "threshold, recall": ("threshold", "recall"),
            "mixture, precision": ("mixture", "precision"),
            "mixture, recall": ("mixture", "recall"),
            "right labels, as they are": ("before",),
            "right labels, corrected by threshold": ("threshold", "corrected"),
            "right labels, corrected by mixture": ("mixture", "corrected"),
            "right labels, all predicted": ("relabelled",),
        }
        for name, names in said.items():
            columns = [numbers(of, f"split_{at}", *names) for of in group.rows.values()]
            yield _line(name, columns)


def _expected(
    group: Group, paths: dict[float, list[dict[str, np.ndarray]]]
) -> Iterator[Expected]:
    """Expectations of the shares there are."""
    for share, rows in group.rows.items():
        at = lambda step, name, rows=rows: numbers(rows, f"at_{step}", name)
        gain = {name: at("stop", name) - at("end", name) for name in ("test", "truth")}
        if share in _GAINS:
            yield Expected(
                what=f"{share:g}: test, stopped - end",
                own=gain["test"].tolist(),
                least=_GAINS[share],
                source="Fig. 1: degrades at the end",
            )
            yield Expected(
                what=f"{share:g}: true training labels, stopped - end",
                own=gain["truth"].tolist(),
                least=_TRUTH,
                source="Fig. 1: degrades at the end",
            )
        # redrawn labels are right by chance
        line = 1 - share * (1 - 1 / rows[0]["classes"])
        if share > 0 and rows[0]["mode"] == "uniform":
            yield Expected(
                what=f"{share:g}: noisy training labels, stopped",
                own=at("stop", "noisy").tolist(),
                least=round(line - _NEAR, 4),
                most=round(line + _NEAR, 4),
                source=f"Fig. 1: {line:g}",
            )
        yield Expected(
            what=f"{share:g}: test, oracle - stopped",
            own=(at("oracle", "test") - at("stop", "test")).tolist(),
            most=_ORACLE,
            source="own",
        )
        if share == 0.5 and rows[0]["n_train"] >= _FULL:
            for name, least in (("test", _FULL_TEST), ("truth", _FULL_TRUTH)):
                yield Expected(
                    what=f"{share:g}: {name}, stopped",
                    own=at("stop", name).tolist(),
                    least=least,
                    source="Fig. 1: near 1",
                )
    yield from _expected_distances(paths)
    yield from _expected_areas(group)


def _expected_distances(paths) -> Iterator[Expected]:
    if len(paths) < 2:
        return
    repeats = min(len(of) for of in paths.values())
    reached = np.array([[distance_at(path) for path in of[:repeats]]
                        for of in paths.values()])  # fmt: skip
    yield Expected(
        what=f"least rise of the distance at {FITTED:g}, share to share",
        own=np.diff(reached, axis=0).min(axis=0).tolist(),
        least=0.0,
        source="Fig. 3: rises",
    )


def _expected_areas(group: Group) -> Iterator[Expected]:
    of = {
        share: numbers(rows, "split_stop", "auc") for share, rows in group.rows.items()
    }
    if 0.3 in of:
        yield Expected(
            what="0.3: area under the ROC curve, stopped",
            own=of[0.3].tolist(),
            least=_AUC,
            source="Figs. 4, 6, 7: apart",
        )
    if 0.3 in of and 0.5 in of:
        repeats = min(len(of[0.3]), len(of[0.5]))
        yield Expected(
            what="area at 0.3 - area at 0.5",
            own=(of[0.3][:repeats] - of[0.5][:repeats]).tolist(),
            least=0.0,
            source="falls",
        )
