"""Where does accuracy vanish, over batch size and number of images, and is it critical?

Networks trained by SGD on freshly corrupted images over (p, batch size, n_train). For
each pair the level where accuracy falls through a threshold, its power law in the batch
size, and the finite-size collapse of the curves of all n_train onto one, with a score
that is not degenerate, intervals over repeats and parameters at an edge named.

Larger batches take fewer steps on as many images. The control --budget=steps gives all
batch sizes as many steps, --scale_rate a learning rate in proportion to the batch: what
is left of the difference is the noise of small batches.

    python -m experiments.finite_size_scaling --workdir=results/finite_size_scaling
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from experiments import _networks, _runner
from experiments._networks import compute as compute
from experiments._runner import setting
from ntk_corrupt import plots, scaling
from ntk_corrupt.results import Cell, Row, RunDirectory
from theory.errors import InputError, unknown

BUDGETS = ("samples", "steps")
_THRESHOLDS = (0.15, 0.2)
_RESAMPLES = 100
# of nu and of kappa
_NU, _KAPPA = (0.3, 10.0), (-2.0, 2.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FiniteSizeScaling(_networks.Networks):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.5, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.99), "corruption levels"
    )
    n_trains: tuple[int, ...] = setting((250, 1000), "numbers of training images")
    n_train: int = setting(0, "not used here: see --n_trains")
    batch_sizes: tuple[int, ...] = setting(
        (16, 128, 0), "images per step; 0 is all of them"
    )
    batch_size: int = setting(128, "not used here: see --batch_sizes")
    budget: str = setting(
        "samples",
        "samples: --epochs for all; steps: as many steps as the first batch size takes",
    )
    scale_rate: bool = setting(
        False, "whether the learning rate grows with the batch size, from the first"
    )
    optimiser: str = setting("sgd", "adam, sgd, momentum")
    learning_rate: float = setting(0.01, "of the optimiser, for the first batch size")


PRESETS = {
    "smoke": {
        "n_trains": (60, 120),
        "batch_sizes": (8, 0),
        "n_test": 100,
        "p": (0.2, 0.5, 0.8, 0.95),
        "repeats": 2,
        "width": 16,
        "epochs": 3,
        "learning_rate": 0.1,
    },
    "cpu": {},
    "steps": {"budget": "steps"},
    # the phase diagram of github.com/AsadullahBhuiyan/noisy_neural_networks
    "paper": {
        "dataset": "mnist",
        "n_trains": (5000, 10_000, 20_000, 40_000),
        "batch_sizes": (16, 64, 256, 1024, 4096, 0),
        "p": tuple(np.linspace(0.9, 0.995, 30).round(5).tolist()),
        "width": 512,
        "epochs": 50,
        "repeats": 5,
    },
}


def _each(config: FiniteSizeScaling) -> list[FiniteSizeScaling]:
    """One config per number of images and batch size."""
    found = []
    for n, asked in itertools.product(config.n_trains, config.batch_sizes):
        batch, first = asked or n, config.batch_sizes[0] or n
        # steps are ceil(n/batch) an epoch
        epochs = config.epochs
        if config.budget == "steps":
            epochs = max(1, round(epochs * -(-n // first) / -(-n // batch)))
        rate = config.learning_rate * (batch / first if config.scale_rate else 1)
        found.append(
            dataclasses.replace(
                config, n_train=n, batch_size=batch, epochs=epochs, learning_rate=rate
            )
        )
    return found


def check(config: FiniteSizeScaling) -> None:
    """Raises `InputError` on bad settings."""
    if config.budget not in BUDGETS:
        raise unknown("--budget", config.budget, BUDGETS)
    if config.n_train:
        raise InputError(
            f"`--n_train` must be left out here, got {config.n_train}: give --n_trains."
        )
    if config.samples is not None:
        raise InputError("`--samples` must be left out here: give --epochs.")
    for name in ("n_trains", "p"):
        values = getattr(config, name)
        if not values or list(values) != sorted(set(values)):
            raise InputError(f"`--{name}` must be rising numbers, got {values}.")
    if not config.batch_sizes or min(config.batch_sizes) < 0:
        raise InputError(
            f"`--batch_sizes` must be positive, or 0 for all, got {config.batch_sizes}."
        )
    for each in _each(config):
        _networks.check(each)


def cells(config: FiniteSizeScaling) -> list[Cell]:
    """One cell per number of images, batch size and level."""
    order = itertools.product(config.n_trains, config.batch_sizes)
    return [
        Cell({**_networks.cell(each, p).settings, "batch": asked})
        for each, (_, asked) in zip(_each(config), order, strict=True)
        for p in config.p
    ]


def _groups(rows: Sequence[Row]) -> dict[int, dict[int, list[Row]]]:
    """Rows by batch size asked for and number of images, by rising level."""
    found: dict[int, dict[int, list[Row]]] = {}
    for row in sorted(rows, key=lambda row: (row["n_train"], row["p"])):
        found.setdefault(row["batch"], {}).setdefault(row["n_train"], []).append(row)
    return found


def _curves(group: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    p = np.array([row["p"] for row in group])
    return p, _networks.repeats(group, "clean")


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
                scaling.threshold_crossing(*_curves(group), level)
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
            scaling.threshold_crossing(*_curves(by_n[n]), 0.2).mean()
            for by_n in groups.values()
        ]
        law = scaling.power_law(sizes, 1 - np.array(crossed))
        lines.append(
            f"n_train {n:>6}: beta {law.exponent:.3f} ± {law.exponent_stderr:.3f}, R2 "
            f"{law.r2:.3f}, {law.used} batch sizes"
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
            best = scaling.collapse(p, samples.mean(axis=0), sizes, **options)
            said = {key: f"{getattr(best, key):.3f}" for key in best.profiles}
            if len(samples) > 1 and options.get("normalised", True):
                rng = np.random.default_rng(0)
                found, edges = scaling.bootstrap_collapse(
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
            error = samples.std(axis=0, ddof=min(1, len(samples) - 1))
            plots.accuracy_curves(
                curve, p, samples.mean(axis=0), error / len(samples) ** 0.5,
                label=f"n_train {n}", color=colour,
            )  # fmt: skip
        plots.chance_line(curve, rows[0]["classes"])
        curve.set(title=f"batch size {_batch(batch)}", xlabel="corruption level")
        curve.legend(fontsize="small")
        if len(by_n) < 2 or len({len(group) for group in by_n.values()}) > 1:
            continue
        sizes, p, samples = _stacked(by_n)
        mean = samples.mean(axis=0)
        best = scaling.collapse(
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


EXPERIMENT = _runner.Experiment(
    name="finite_size_scaling",
    config=FiniteSizeScaling,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=table,
    figure=figure,
    estimate=_networks.estimate,
)


if __name__ == "__main__":
    _runner.main(EXPERIMENT)
