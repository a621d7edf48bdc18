"""Rows of `architectures`: accuracies, and whether the order came out."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.stats

import theory
from experiments.harness.run_directory import Row, RunDirectory
from experiments.laws.architecture_settings import STAGES
from experiments.laws.architectures import in_order, told_at
from experiments.shared import reference, rows, tables, verdicts
from experiments.shared.verdicts import Expected

# An architecture sees otherwise than the plain class mean below this share of pixels.
_FEW = 0.9
_SURE = 0.95  # that a difference has its sign, by Student's t over draws
_COLUMNS = {
    "in W": "weighted",
    "plain": "plain",
    "kernel": "accuracy",
    "as in W": "alike",
    "as plain": "alike_plain",
}
_OF_NETWORKS = {
    "in W": "weighted",
    "one network": "accuracy",
    "as in W": "alike",
    "as plain": "alike_plain",
    "their mean": "mean_accuracy",
    "mean as in W": "mean_alike",
    "mean as plain": "mean_alike_plain",
}


def _error(values: Sequence[float] | np.ndarray) -> float:
    return theory.standard_error(np.asarray(values))


def _number(values: Sequence[float] | np.ndarray, **how) -> str:
    return tables.number(float(np.mean(values)), _error(values), **how)


def _stage(found: Sequence[Row], stage: str) -> list[Row]:
    return [row for row in found if row["stage"] == stage]


def table(directory: RunDirectory, found: Sequence[Row]) -> str:
    """Metrics, accuracies and shares decided alike, the order, and what was said."""
    metrics = _stage(found, "metric")
    lines = [
        "",
        f"effective number of pixels r of {metrics[0]['pixels']}, and accuracy of the "
        "class mean of the clean training images",
        f"{'architecture':<14} {'r':>13} {'in W':>8} {'plain':>8}",
    ]
    lines += [
        f"{row['architecture']:<14} {_number(row['ranks'], width=6, digits=2):>13}"
        f" {row['clean']:>8.3f} {row['clean_plain']:>8.3f}"
        for row in metrics
    ]
    if kernels := _stage(found, "kernel"):
        lines += [
            "",
            "accuracy of the class mean of the corrupted images, in W and plain, and "
            "of the kernel; share that the kernel decides as they do; errors over "
            "draws",
            *_table(kernels, _COLUMNS),
        ]
    if networks := _stage(found, "network"):
        one = networks[0]
        lines += [
            "",
            f"the same of trained networks, {one['draws']} draws x {one['inits']}, "
            f"width {one['width']}: single ones, and the mean output of a draw; loss "
            "that was reached in how many epochs",
            *_table(networks, _OF_NETWORKS, _ends),
        ]
    for stage in STAGES:
        if rows := _stage(found, stage):
            lines += order(rows)
    return "\n".join([*lines, *verdicts.lines(expected(metrics, found)), ""])


def _table(
    rows: Sequence[Row],
    columns: Mapping[str, str],
    more: Callable[[Row], str] = lambda _: "",
) -> list[str]:
    """A line for each row: its level, architecture, columns, and what else there is."""
    return [
        f"{'p':>5} {'architecture':<14}" + "".join(f"{c:>15}" for c in columns),
        *(
            f"{row['p']:>5g} {row['architecture']:<14}"
            + "".join(f"{_number(row[of]):>15}" for of in columns.values())
            + more(row)
            for row in rows
        ),
    ]


def _ends(row: Row) -> str:
    """What networks were trained to; no loss is known without a `stop_loss`."""
    losses = np.asarray(row["train_loss"], float)
    known = f"{losses.mean():.2g} in " if np.isfinite(losses).all() else ""
    return f"  {known}{np.mean(row['trained']):.0f}"


def _at_order(rows: Sequence[Row]) -> tuple[float, list[Row]]:
    p = told_at(sorted({row["p"] for row in rows}))
    return p, [row for row in rows if row["p"] == p]


def _sign(difference: np.ndarray) -> int:
    """Sign of a mean over draws; 0 where it is not sure, as of one draw."""
    mean, error = difference.mean(), _error(difference)
    if not np.isfinite(error):
        return 0
    most = float(scipy.stats.t.ppf((1 + _SURE) / 2, len(difference) - 1))
    return int(np.sign(mean)) if abs(mean) > most * error else 0


def pairs(rows: Sequence[Row]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Pairs that the class mean in W tells apart, the better first.

    With each the differences, draw by draw, of the class mean in W and of the kernels,
    or of the networks.
    """
    told = []
    for one, other in itertools.combinations(rows, 2):
        rule, own = (np.subtract(one[of], other[of]) for of in ("weighted", "accuracy"))
        names = one["architecture"], other["architecture"]
        if sign := _sign(rule):
            name = " > ".join(names[::sign])
            told.append((name, sign * rule, sign * own))
    return told


def order(rows: Sequence[Row]) -> list[str]:
    """The predicted order, that of one stage, and how each pair came out."""
    (p, at), who = _at_order(rows), f"{rows[0]['stage']}s"
    by = {
        of: in_order({row["architecture"]: row[of] for row in at})
        for of in ("weighted", "accuracy")
    }
    lines = [
        "",
        f"order at p = {p:g}",
        f"predicted  {by['weighted']}",
        f"{who:<10} {by['accuracy']}",
    ]
    told = pairs(at)
    signs = [_sign(own) for *_, own in told]
    lines.append(
        f"{len(told)} of {len(at) * (len(at) - 1) // 2} pairs are predicted apart at "
        f"{_SURE:.0%}: {signs.count(1)} came out so, {signs.count(-1)} reversed, of "
        f"{signs.count(0)} the {who} do not tell"
    )
    lines += [
        f"  {how}: {name}, predicted {_number(rule, sign='+')}, {who} "
        f"{_number(own, sign='+')}"
        for (name, rule, own), sign in zip(told, signs, strict=True)
        for how in ["reversed" if sign < 0 else "not told"]
        if sign <= 0
    ]
    return lines


def expected(metrics: Sequence[Row], found: Sequence[Row]) -> list[Expected]:
    """That the order comes out, that W says more than none, and the figures given."""
    few = {
        row["architecture"]
        for row in metrics
        if np.mean(row["ranks"]) < _FEW * row["pixels"]
    }
    said = []
    for stage in STAGES:
        if not (rows := _stage(found, stage)):
            continue
        p, at = _at_order(rows)
        whose = f"{stage}s, p = {p:g}"
        if told := pairs(at):
            right = np.mean([own > 0 for *_, own in told], axis=0)
            what = f"pairs in the predicted order, {whose}"
            said.append(Expected(what=what, own=right, least=1.0))
        said += [
            Expected(
                what=f"{row['architecture']}, {whose}: alike in W less plain",
                own=np.subtract(row["alike"], row["alike_plain"]),
                least=0.0,
                strictly=True,
            )
            for row in at
            if row["architecture"] in few
        ]
    return said + _given([r for r in found if r["stage"] != "network"])


def _given(found: Sequence[Row]) -> list[Expected]:
    """The figures of the notes, where ours are of the same setting."""
    read, beside = reference.read("architectures"), []
    for entry in read["values"]:
        about = {
            name: entry[name]
            for name in ("architecture", "n_train", "p")
            if name in entry
        }
        group = [
            row
            for row in rows.matching(found, read["setting"])
            if entry["of"] in row and all(row.get(k) == v for k, v in about.items())
        ]
        for row in group:
            value, tolerance = entry["value"], entry["tolerance"]
            beside.append(
                Expected(
                    what=f"{row['architecture']}: {entry['quantity']}",
                    own=np.atleast_1d(row[entry["of"]]),
                    least=round(value - tolerance, 6),
                    most=round(value + tolerance, 6),
                    source=f"{value:g}",
                )
            )
    return beside
