"""Rows of a phase diagram: thresholds, power laws, collapses and a figure."""

from collections.abc import Sequence

import numpy as np

from experiments.harness.run_directory import Row, RunDirectory
from experiments.shared import intervals, tables
from ntk_corrupt import plots
from ntk_corrupt.curves import crossings, finite_size, power_law

_THRESHOLDS = (0.15, 0.2)
_RESAMPLES = 100
# of nu and of kappa
_NU, _KAPPA = (0.3, 10.0), (-2.0, 2.0)


def _groups(rows: Sequence[Row]) -> dict[int, dict[int, list[Row]]]:
    """Rows by batch size asked for and number of images, by rising level."""
    found: dict[int, dict[int, list[Row]]] = {}
    for row in sorted(rows, key=lambda row: (row["n_train"], row["p"])):
        found.setdefault(row["batch"], {}).setdefault(row["n_train"], []).append(row)
    return found


def _curves(group: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    p = np.array([row["p"] for row in group])
    return p, intervals.repeats(group, "clean")


def _batch(asked: int) -> str:
    return str(asked) if asked else "all"


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Accuracies, thresholds, the power law in the batch size, collapses."""
    groups = _groups(rows)
    levels = sorted({row["p"] for row in rows})
    lines = ["", "accuracy on clean images, mean over repeats"]
    lines.append(f"{'batch':>6}{'n_train':>9}" + "".join(f"{p:>8g}" for p in levels))
    for batch, by_n in groups.items():
        for n, group in by_n.items():
            mean = _curves(group)[1].mean(axis=0)
            lines.append(
                f"{_batch(batch):>6}{n:>9}" + "".join(f"{a:>8.3f}" for a in mean)
            )
    lines += ["", "level where accuracy falls to .15 and .20: each repeat"]
    for batch, by_n in groups.items():
        for n, group in by_n.items():
            found = [
                crossings.threshold_crossing(*_curves(group), level)
                for level in _THRESHOLDS
            ]
            lines.append(
                f"{_batch(batch):>6}{n:>9}  "
                + "  |  ".join(" ".join(f"{c:.3f}" for c in each) for each in found)
            )
    return "\n".join([*lines, *_power_laws(groups), *_collapses(groups), ""])


def _power_laws(groups) -> list[str]:
    """1 - p_c against the batch size, for each number of images."""
    lines = ["", "1 - p_c = a B^-beta, p_c at accuracy .20; beta and R2"]
    for n in next(iter(groups.values())):
        sizes = np.array([batch or n for batch in groups], float)
        crossed = [
            crossings.threshold_crossing(*_curves(by_n[n]), 0.2).mean()
            for by_n in groups.values()
        ]
        law = power_law.power_law(sizes, 1 - np.array(crossed))
        beta = tables.number(law.exponent, law.exponent_stderr)
        lines.append(
            f"n_train {n:>6}: beta {beta}, R2 {law.r2:.3f}, {law.used} batch sizes"
            + (f", {law.dropped} never cross" if law.dropped else "")
        )
    return lines


def _searches(p: np.ndarray) -> dict[str, dict]:
    """Options of the collapses that are tried."""
    inside = {"p_c": (float(p[0]) + 1e-3, float(p[-1]) - 1e-3), "nu": _NU}
    return {
        "A = F((p - p_c) N^(1/nu))": inside,
        "A = A_c + N^-kappa F(...)": {**inside, "kappa": _KAPPA},
        "the same, score not normalised": {
            **inside, "kappa": _KAPPA, "normalised": False,
        },
    }  # fmt: skip


def _stacked(by_n: dict[int, list[Row]]):
    """Sizes, levels, and samples (R, S, P) of one batch size."""
    p, _ = _curves(next(iter(by_n.values())))
    samples = [_curves(group)[1] for group in by_n.values()]
    least = min(map(len, samples))
    return np.array(list(by_n)), p, np.stack([part[:least] for part in samples], axis=1)


def _collapses(groups) -> list[str]:
    lines = ["", "collapse over n_train; [95 % over repeats]"]
    for batch, by_n in groups.items():
        if len(by_n) < 2 or len({len(group) for group in by_n.values()}) > 1:
            continue
        sizes, p, samples = _stacked(by_n)
        for name, options in _searches(p).items():
            best = finite_size.collapse(p, samples.mean(axis=0), sizes, **options)
            said = {key: f"{getattr(best, key):.3f}" for key in best.profiles}
            if len(samples) > 1 and options.get("normalised", True):
                rng = np.random.default_rng(0)
                found, edges = finite_size.bootstrap_collapse(
                    p, samples, sizes, rng=rng, resamples=_RESAMPLES, **options
                )
                for key, interval in found.items():
                    said[key] += f" [{interval.low:.3f}, {interval.high:.3f}]"
                    if edges[key] > 0.025:
                        said[key] += f" ({edges[key]:.0%} at an edge)"
            lines.append(
                f"batch {_batch(batch):>5}  {name:<32}"
                + ", ".join(f"{key} {value}" for key, value in said.items())
                + f"; score {best.score:.2g}"
                + (f"; AT AN EDGE: {', '.join(best.at_edge)}" if best.at_edge else "")
            )
    return lines


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Curves, thresholds over the batch size, the collapse and its profiles."""
    from matplotlib.figure import Figure

    groups = _groups(rows)
    fig = Figure(figsize=(11.0, 3.4 * len(groups)), layout="constrained")
    axes = fig.subplots(len(groups), 3, squeeze=False)
    for (batch, by_n), (curve, collapsed, profile) in zip(
        groups.items(), axes, strict=True
    ):
        for (n, group), colour in zip(by_n.items(), plots.PALETTE * 3, strict=False):
            p, samples = _curves(group)
            plots.accuracy_curves(
                curve, p, *intervals.mean_error(samples),
                label=f"n_train {n}", color=colour,
            )  # fmt: skip
        plots.chance_line(curve, rows[0]["classes"])
        curve.set(title=f"batch size {_batch(batch)}", xlabel="corruption level")
        curve.legend(fontsize="small")
        if len(by_n) < 2 or len({len(group) for group in by_n.values()}) > 1:
            continue
        sizes, p, samples = _stacked(by_n)
        mean = samples.mean(axis=0)
        best = finite_size.collapse(
            p, mean, sizes, **_searches(p)["A = A_c + N^-kappa F(...)"]
        )
        x, y = best.scaled(p, mean, sizes)
        for n, xs, ys in zip(sizes, x, y, strict=True):
            collapsed.plot(xs, ys, "o-", label=f"n_train {n}")
        collapsed.set(
            title=f"p_c {best.p_c:.3f}, nu {best.nu:.2f}, kappa {best.kappa:.2f}",
            xlabel="$(p - p_c) N^{1/\\nu}$",
            ylabel="$N^\\kappa (A - A(p_c))$",
        )
        for name, (values, scores) in best.profiles.items():
            share = (values - values[0]) / (values[-1] - values[0])
            low, high = values[0], values[-1]
            profile.plot(share, scores, label=f"{name}: {low:.2g} ... {high:.2g}")
        profile.set(
            yscale="log", xlabel="share of the range", ylabel="least score",
            title="profiles",
        )  # fmt: skip
        profile.legend(fontsize="small")
    row = rows[0]
    fig.suptitle(
        f"{row['dataset']} ({row['normalise']}), {row['corruption']}, fresh noise; "
        f"{row['activation']}, width {row['width']}, {row['optimiser']}",
        fontsize="medium",
    )
    return fig
