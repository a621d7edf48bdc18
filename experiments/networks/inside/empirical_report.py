"""Rows of empirical kernels: ranks, expectations, laws in the width, a figure."""

import itertools
from collections.abc import Sequence

import numpy as np

from experiments.harness.run_directory import Row, RunDirectory
from experiments.shared import intervals, verdicts
from experiments.shared.verdicts import Expected
from ntk_corrupt import plots

MODES, INPUTS, TIMES = ("true", "trace"), ("corrupted", "clean"), ("before", "after")
_BINS = 24
# What is expected of the effective rank on corrupted images, after training.
_PEAK, _FALL, _FALL_AT = (0.1, 0.5), 0.85, (0.2, 0.9)


def _by_width(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Rows of each width, by rising level."""
    found: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["width"], row["p"])):
        found.setdefault(row["width"], []).append(row)
    return found


def _line(text: str, samples: np.ndarray) -> str:
    mean, error = intervals.mean_error(samples)
    entries = [f"{m:>9.3g} ±{e:<7.2g}" for m, e in zip(mean, error, strict=True)]
    return f"{text:<41}" + "".join(entries)


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Effective ranks, movement and distances over p; over width; the expectations."""
    lines, kinds = [], [f"{mode}_{inputs}" for mode in MODES for inputs in INPUTS]
    for width, group in _by_width(rows).items():
        at = lambda name, group=group: intervals.repeats(group, name)
        lines += ["", f"width {width}; mean and standard error over repeats"]
        lines.append(
            f"{'p':<41}" + "".join(f"{p:>9g}{'':9}" for p in intervals.levels(group))
        )
        lines.append(_line("accuracy, clean test images", at("accuracy_after")))
        lines.append(_line("hidden units alive", at("alive_after")))
        for kind in kinds:
            for time in (*TIMES, "infinite"):
                text = f"effective rank, {kind.replace('_', ' ')}, {time}"
                lines.append(_line(text, at(f"{kind}_{time}_effective_rank")))
        for name, text in (
            ("moved", "distance after - before"),
            ("alignment", "cosine after, before"),
            ("before_from_infinite", "before - infinite width"),
        ):
            lines += [
                _line(f"{text}, {kind.replace('_', ' ')}", at(f"{kind}_{name}"))
                for kind in kinds
            ]
        ratio = lambda kind, at=at: (
            at(f"{kind}_after_trace") / at(f"{kind}_before_trace")
        )
        lines += [
            _line(f"trace after / before, {kind.replace('_', ' ')}", ratio(kind))
            for kind in kinds
        ]
        lines += verdicts.lines([e for mode in MODES for e in expected(group, mode)])
    return "\n".join([*lines, *_over_width(rows), ""])


def expected(rows: Sequence[Row], mode: str) -> list[Expected]:
    """What the effective rank on corrupted images should do; nothing if not known."""
    p = intervals.levels(rows)
    ranks = intervals.repeats(rows, f"{mode}_corrupted_after_effective_rank")
    mean, name = ranks.mean(axis=0), f"effective rank after training, {mode} corrupted"
    if not np.isfinite(mean).all():
        return []
    found = []
    if ((p >= _PEAK[0]) & (p <= _PEAK[1])).any() and p.min() < _PEAK[0]:
        top = p[mean.argmax()]
        what = f"{name}: largest at p"
        found.append(Expected(what=what, own=[top], least=_PEAK[0], most=_PEAK[1]))
    if set(_FALL_AT) <= set(p.tolist()):
        low, high = (mean[p == level][0] for level in _FALL_AT)
        what = f"{name}: p = {_FALL_AT[1]:g} over p = {_FALL_AT[0]:g}"
        found.append(Expected(what=what, own=[high / low], most=_FALL))
    return found


def _over_width(rows: Sequence[Row]) -> list[str]:
    """Powers of the width of what falls with it, at each level."""
    widths = _by_width(rows)
    if len(widths) < 2:
        return []
    lines = [
        "",
        "power of the width, fitted: 1/sqrt(width) is -0.5, 1/width is -1",
    ]
    p = intervals.levels(next(iter(widths.values())))
    lines.append(f"{'p':<41}" + "".join(f"{level:>10g}" for level in p))
    for name in ("before_from_infinite", "moved"):
        for mode in MODES:
            of = [
                intervals.repeats(g, f"{mode}_corrupted_{name}")
                for g in widths.values()
            ]
            logs = np.log([each.mean(axis=0) for each in of])
            slopes = np.polyfit(np.log(list(widths)), logs, 1)[0]
            text = f"{name.replace('_', ' ')}, {mode} corrupted"
            lines.append(f"{text:<41}" + "".join(f"{slope:>10.2f}" for slope in slopes))
    return lines


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Ranks and entropies over p, histograms of eigenvalues, movement, width."""
    from matplotlib.figure import Figure

    widths = _by_width(rows)
    fig = Figure(figsize=(11.5, 6.6), layout="constrained")
    (ranks, traces, entropies), (histogram, moved, limit) = fig.subplots(2, 3)
    kinds = [
        (i, t) for i in (INPUTS if len(widths) == 1 else INPUTS[:1]) for t in TIMES
    ]
    for number, (width, group) in enumerate(widths.items()):
        for (inputs, time), colour in zip(kinds, _colours(number, kinds), strict=True):
            style = {"color": colour, "fmt": "o-" if time == "after" else "o--"}
            label = f"{inputs}, {time}" if len(widths) == 1 else f"{width}, {time}"
            for ax, name in (
                (ranks, f"true_{inputs}_{time}_effective_rank"),
                (traces, f"trace_{inputs}_{time}_effective_rank"),
                (entropies, f"true_{inputs}_{time}_entropy"),
            ):
                _bars(ax, group, name, label=label, **style)
        for mode, line in zip(MODES, ("o-", "s--"), strict=True):
            label, colour = f"{mode}, {width}", plots.PALETTE[number % 7]
            name = f"{mode}_corrupted_moved"
            _bars(moved, group, name, label=label, color=colour, fmt=line)
    ranks.set(title="effective rank, true")
    traces.set(title="effective rank, trace")
    entropies.set(title="spectral entropy, true")
    moved.set(title="|after - before| / |before|, corrupted", xlabel="corruption level")
    ranks.legend(fontsize="x-small", handlelength=4)
    moved.legend(fontsize="x-small", title="mode, width", title_fontsize="x-small")
    for ax in (ranks, traces, entropies):
        ax.set_xlabel("corruption level")
    _histograms(histogram, directory, list(widths.values())[-1])
    _distances(limit, list(widths.values()))
    row = rows[0]
    fig.suptitle(
        f"{row['dataset']} ({row['normalise']}), {row['n_train']} images, "
        f"{row['noise_regime']} {row['corruption']}; {row['activation']}, depth "
        f"{row['depth']}, width {', '.join(map(str, widths))}",
        fontsize="medium",
    )
    return fig


def _colours(number: int, kinds: Sequence[tuple[str, str]]) -> list[str]:
    """By inputs where there is one width, by width otherwise."""
    own = [INPUTS.index(inputs) + number for inputs, _ in kinds]
    return [plots.PALETTE[k % len(plots.PALETTE)] for k in own]


def _bars(ax, rows: Sequence[Row], name: str, **options) -> None:
    mean, error = intervals.mean_error(intervals.repeats(rows, name))
    ax.errorbar(
        intervals.levels(rows), mean, yerr=np.nan_to_num(error), capsize=2.0, **options
    )


def _histograms(ax, directory: RunDirectory, rows: Sequence[Row]) -> None:
    """Eigenvalues on corrupted images: all repeats at the ends and the middle of p."""
    from matplotlib.ticker import NullFormatter

    chosen = sorted({0, len(rows) // 2, len(rows) - 1})
    found = {
        (i, time): directory.arrays(rows[i])[f"true_corrupted_{time}"].ravel()
        for i in chosen
        for time in TIMES
    }
    every = np.concatenate(list(found.values()))
    top = every.max()
    edges = np.geomspace(max(every[every > 0].min(), 1e-7 * top), 1.01 * top, _BINS)
    for (i, time), values in found.items():
        ax.hist(
            values, bins=edges, histtype="step", color=plots.PALETTE[chosen.index(i)],
            linestyle="-" if time == "after" else "--",
            label=f"p = {rows[i]['p']:g}" if time == "after" else None,
        )  # fmt: skip
    ax.set_xscale("log")
    if edges[-1] > 100 * edges[0]:  # otherwise the minor ones are the only labels
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set(title="eigenvalues, true corrupted (-- before)", xlabel="eigenvalue")
    ax.legend(fontsize="x-small")


def _distances(ax, widths: Sequence[Sequence[Row]]) -> None:
    """From the kernel of infinite width: over width, or over p where there is one."""
    from matplotlib.ticker import NullFormatter

    if len(widths) == 1:
        for mode, time in itertools.product(MODES, TIMES):
            colour, line = plots.PALETTE[MODES.index(mode)], {"after": "o-"}
            name = f"{mode}_corrupted_{time}_from_infinite"
            _bars(
                ax, widths[0], name, label=f"{mode}, {time}", color=colour,
                fmt=line.get(time, "o--"),
            )  # fmt: skip
        ax.set(title="distance from infinite width, corrupted")
        ax.set_xlabel("corruption level")
    else:
        for mode, line in zip(MODES, ("o-", "s--"), strict=True):
            name = f"{mode}_corrupted_before_from_infinite"
            at = [group[0]["width"] for group in widths]
            every = [intervals.repeats(group, name) for group in widths]
            both = zip(*map(intervals.mean_error, every), strict=True)
            mean, error = map(np.array, both)
            for number, row in enumerate(widths[0]):
                colour = plots.PALETTE[number % len(plots.PALETTE)]
                ax.errorbar(
                    at, mean[:, number], yerr=np.nan_to_num(error[:, number]), fmt=line,
                    color=colour, capsize=2.0, label=f"{mode}, p = {row['p']:g}",
                )  # fmt: skip
        ax.set(title="distance from infinite width, before", xscale="log", yscale="log")
        ax.set_xlabel("width")
        ax.set_xticks(at, labels=map(str, at))
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend(fontsize="x-small", handlelength=4)
