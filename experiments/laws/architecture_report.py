"""Rows of `architectures`: accuracies, whether the order came out, a figure."""

import itertools
from collections.abc import Sequence

import numpy as np
import scipy.stats

import theory
from experiments.harness.run_directory import Row, RunDirectory
from experiments.laws.architectures import DIRECTIONS, in_order, told_at
from experiments.shared import reference, rows, tables, verdicts
from experiments.shared.corruptions import kind
from experiments.shared.verdicts import Expected
from ntk_corrupt import plots

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


def _error(values: Sequence[float] | np.ndarray) -> float:
    return theory.standard_error(np.asarray(values))


def _number(values: Sequence[float] | np.ndarray, **how) -> str:
    return tables.number(float(np.mean(values)), _error(values), **how)


def _stage(found: Sequence[Row], stage: str) -> list[Row]:
    return [row for row in found if row["stage"] == stage]


def table(directory: RunDirectory, found: Sequence[Row]) -> str:
    """Metrics, accuracies and shares decided alike, the order, and what was said."""
    metrics, kernels = _stage(found, "metric"), _stage(found, "kernel")
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
    lines += [
        "",
        "accuracy of the class mean of the corrupted images, in W and plain, and of "
        "the kernel; share that the kernel decides as they do; errors over draws",
        f"{'p':>5} {'architecture':<14}" + "".join(f"{c:>15}" for c in _COLUMNS),
    ]
    lines += [
        f"{row['p']:>5g} {row['architecture']:<14}"
        + "".join(f"{_number(row[of]):>15}" for of in _COLUMNS.values())
        for row in kernels
    ]
    if kernels:
        lines += order(kernels)
    return "\n".join([*lines, *verdicts.lines(expected(metrics, kernels)), ""])


def _at_order(kernels: Sequence[Row]) -> tuple[float, list[Row]]:
    p = told_at(sorted({row["p"] for row in kernels}))
    return p, [row for row in kernels if row["p"] == p]


def _sign(difference: np.ndarray) -> int:
    """Sign of a mean over draws; 0 where it is not sure, as of one draw."""
    mean, error = difference.mean(), _error(difference)
    if not np.isfinite(error):
        return 0
    most = float(scipy.stats.t.ppf((1 + _SURE) / 2, len(difference) - 1))
    return int(np.sign(mean)) if abs(mean) > most * error else 0


def pairs(kernels: Sequence[Row]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Pairs that the class mean in W tells apart, the better first.

    With each the differences, draw by draw, of the class mean in W and of the kernel.
    """
    told = []
    for one, other in itertools.combinations(kernels, 2):
        rule, kernel = (
            np.subtract(one[of], other[of]) for of in ("weighted", "accuracy")
        )
        names = one["architecture"], other["architecture"]
        if sign := _sign(rule):
            name = " > ".join(names[::sign])
            told.append((name, sign * rule, sign * kernel))
    return told


def order(kernels: Sequence[Row]) -> list[str]:
    """The predicted order, the kernels', and how each pair came out."""
    p, at = _at_order(kernels)
    by = {
        of: in_order({row["architecture"]: row[of] for row in at})
        for of in ("weighted", "accuracy")
    }
    lines = [
        "",
        f"order at p = {p:g}",
        f"predicted  {by['weighted']}",
        f"kernels    {by['accuracy']}",
    ]
    told = pairs(at)
    signs = [_sign(kernel) for _, _, kernel in told]
    lines.append(
        f"{len(told)} of {len(at) * (len(at) - 1) // 2} pairs are predicted apart at "
        f"{_SURE:.0%}: {signs.count(1)} came out so, {signs.count(-1)} reversed, of "
        f"{signs.count(0)} the kernels do not tell"
    )
    lines += [
        f"  {how}: {name}, predicted {_number(rule, sign='+')}, kernels "
        f"{_number(kernel, sign='+')}"
        for (name, rule, kernel), sign in zip(told, signs, strict=True)
        for how in ["reversed" if sign < 0 else "not told"]
        if sign <= 0
    ]
    return lines


def expected(metrics: Sequence[Row], kernels: Sequence[Row]) -> list[Expected]:
    """That the order comes out, that W says more than none, and the figures given."""
    found = []
    if kernels:
        p, at = _at_order(kernels)
        if told := pairs(at):
            right = np.mean([kernel > 0 for *_, kernel in told], axis=0)
            what = f"pairs in the predicted order, p = {p:g}"
            found.append(Expected(what=what, own=right, least=1.0))
        few = {
            row["architecture"]
            for row in metrics
            if np.mean(row["ranks"]) < _FEW * row["pixels"]
        }
        found += [
            Expected(
                what=f"{row['architecture']}, p = {p:g}: alike in W less plain",
                own=np.subtract(row["alike"], row["alike_plain"]),
                least=0.0,
                strictly=True,
            )
            for row in at
            if row["architecture"] in few
        ]
    return found + _given([*metrics, *kernels])


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


def figure(directory: RunDirectory, found: Sequence[Row]):
    """Accuracies over p, and the leading directions of W: a row an architecture."""
    from matplotlib.figure import Figure

    metrics, kernels = _stage(found, "metric"), _stage(found, "kernel")
    fig = Figure(figsize=(9.0, 1.0 + 1.45 * len(metrics)), layout="constrained")
    axes = fig.subplots(
        len(metrics),
        1 + DIRECTIONS,
        squeeze=False,
        width_ratios=[3.6, *[1.0] * DIRECTIONS],
    )
    for number, (row, (left, *right)) in enumerate(zip(metrics, axes, strict=True)):
        own = [r for r in kernels if r["architecture"] == row["architecture"]]
        _accuracies(left, own, row["classes"])
        _directions(right, directory.arrays(row))
        left.set_title(
            f"{row['architecture']}: {np.mean(row['ranks']):.1f} effective pixels "
            f"of {row['pixels']}",
            loc="left",
            fontsize="medium",
        )
        if number < len(metrics) - 1:
            left.set_xlabel("")
            left.tick_params(labelbottom=False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4)
    row = metrics[0]
    size = f" at {row['size']} x {row['size']}" if row["size"] else ""
    noise = kind(row["corruption"]).by(row["noise"])
    fig.suptitle(
        f"{row['dataset']}{size} ({row['normalise']}), {row['n_train']} training "
        f"images, {row['activation']}\n{row['corruption']}{noise}; right: leading "
        "directions of W, with shares of its trace",
        fontsize="medium",
    )
    return fig


def _accuracies(ax, own: Sequence[Row], classes: int) -> None:
    own = sorted(own, key=lambda row: row["p"])
    p = [row["p"] for row in own]
    for of, label, style in (
        ("weighted", "class mean in W", {"color": plots.PALETTE[0]}),
        ("plain", "plain class mean", {"color": plots.PALETTE[4], "linestyle": "--"}),
    ):
        mean = [np.mean(row[of]) for row in own]
        ax.plot(p, mean, label=label, **style)
    plots.accuracy_curves(
        ax,
        p,
        [np.mean(row["accuracy"]) for row in own],
        np.nan_to_num([_error(row["accuracy"]) for row in own]),
        label="exact kernel",
        color="black",
        linestyle="",
    )
    plots.chance_line(ax, classes)
    ax.set(ylim=(0, 1), ylabel="accuracy")
    plots.corruption_axis(ax, p)


def _directions(axes, arrays) -> None:
    """Each from blue (negative) to red, its largest entry positive."""
    shares = arrays["values"] / arrays["values"].sum()
    for ax, direction, share in zip(axes, arrays["directions"], shares, strict=False):
        image = plots.as_images(direction[None])[0]
        if image.ndim == 3:
            image = image.mean(axis=-1)
        image = image * np.sign(image.flat[np.abs(image).argmax()])
        most = np.abs(image).max()
        ax.imshow(image, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.set_title(f"{100 * share:.3g} %", fontsize="small")
