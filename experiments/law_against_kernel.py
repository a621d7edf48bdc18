"""How close is the resummed law to the exact kernel that it stands for?

At each corruption level: the accuracy that the law predicts, and that of exact kernels
drawn on the same training images. A dozen draws leave an error of .01; the law's own
surrogate, which is cheap and follows the kernel draw by draw, is the control variate
that takes most of it away:

    exact = mean over draws of (exact - surrogate) + mean over many surrogates.

    python -m experiments.law_against_kernel --workdir=results/law
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

import theory
from experiments import _runner, _settings
from experiments._runner import setting
from ntk_corrupt import plots
from ntk_corrupt.results import Cell, Row, RunDirectory
from theory.errors import InputError

# What decides the numbers of a cell, beside its level and subset.
_DECIDES = (
    "seed",
    "dataset",
    "n_train",
    "n_test",
    "size",
    "normalise",
    "corruption",
    "noise",
    "activation",
    "depth",
    "w_var",
    "b_var",
    "draws",
    "surrogates",
    "landmarks",
    "single",
)
_INITS = (1, 10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LawAgainstKernel(_settings.Settings):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting((0.5, 0.8, 0.9, 0.95, 0.97, 0.99), "levels")
    subsets: int = setting(1, "training subsets, each drawn from the whole data set")
    draws: int = setting(12, "exact kernels per level")
    surrogates: int = setting(100, "surrogate draws per level, the exact ones included")
    landmarks: int | None = setting(
        None, "landmarks of the law; none lets its diagnostics choose"
    )
    single: bool = setting(True, "whether to compare single networks too")


PRESETS = {
    "smoke": {
        "n_train": 100,
        "n_test": 100,
        "p": (0.7, 0.95),
        "draws": 3,
        "surrogates": 6,
    },
    "cpu": {},
    "paper": {
        "dataset": "mnist",
        "n_train": 4000,
        "p": (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99),
        "n_test": 2000,
        "draws": 12,
    },
}


def check(config: LawAgainstKernel) -> None:
    """Raises `InputError` on bad settings."""
    if config.draws < 2:
        raise InputError(f"`--draws` must be at least 2, got {config.draws}.")
    if config.surrogates < config.draws:
        raise InputError(
            f"`--surrogates` must be at least --draws = {config.draws}, "
            f"got {config.surrogates}."
        )
    _settings.check(config, config.p)


def cells(config: LawAgainstKernel) -> list[Cell]:
    """One cell per corruption level and training subset."""
    settings = dataclasses.asdict(config)
    own = {name: settings[name] for name in _DECIDES}
    return [
        Cell({"p": p, "subset": subset, **own})
        for subset in range(config.subsets)
        for p in config.p
    ]


def compute(config: LawAgainstKernel, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes one cell."""
    p, subset = cell.settings["p"], cell.settings["subset"]
    problem = _settings.problem(config, subset)
    arch, noise = _settings.architecture(config), _settings.corruption(config, p)
    key, labels = _settings.corruption_key(config, subset), problem.labels_test
    law = theory.resummed(
        arch,
        noise,
        problem,
        landmarks=config.landmarks,
        with_init_var=config.single,
    )
    surrogates = theory.surrogate(law, noise, problem, draws=config.surrogates, key=key)
    exact = theory.exact(
        arch,
        noise,
        problem,
        draws=config.draws,
        key=key,
        with_init_var=config.single,
    )
    row: Row = {
        "law": law.accuracy(labels),
        "law_std": law.accuracy_std(labels),
        "exact": np.asarray(exact.accuracies(labels)).tolist(),
        "surrogate": np.asarray(surrogates.accuracies(labels)).tolist(),
        "level": law.diagnostics["level"],
        "valid": bool(law.diagnostics["valid"]),
        "doubts": law.diagnostics["doubts"],
    }
    row |= _pointwise(law, exact, surrogates)
    rule = np.asarray(theory.class_mean_scores(problem).argmax(axis=1))
    row["reliability"] = {"inf": _reliability(law, exact, rule, None)}
    if config.single:
        row["law_init_var"] = float(law.init_var.mean())
        row["exact_init_var"] = float(np.asarray(exact.init_var).mean())
        # the initialisations of a surrogate have the variance that the law predicts
        follows = dataclasses.replace(
            surrogates,
            init_var=np.broadcast_to(
                np.asarray(law.init_var), (config.surrogates, law.init_var.shape[0])
            ),
        )
        row["reliability"]["1"] = _reliability(law.averaged(1), exact, rule, 1)
        for inits in _INITS:
            row[f"law_{inits}"] = law.averaged(inits).accuracy(labels)
            row[f"exact_{inits}"] = np.asarray(exact.accuracies(labels, inits)).tolist()
            row[f"surrogate_{inits}"] = np.asarray(
                follows.accuracies(labels, inits)
            ).tolist()
    return row, {
        "labels": np.asarray(labels, np.int16),
        "mean": np.asarray(law.mean, np.float32),
        "exact_mean": np.asarray(exact.outputs.mean((0, 1)), np.float32),
    }


def _pointwise(law, exact, surrogates) -> Row:
    """Slope and R2 of exact mean outputs against the law's, less what is common.

    The simulated means are corrected by the surrogate on the same draws, as the
    accuracies are; what is left of their error is taken out of R2.
    """
    centred = lambda outputs: outputs - outputs.mean(axis=-1, keepdims=True)
    outputs, follows = (
        centred(np.asarray(d.outputs[:, 0])) for d in (exact, surrogates)
    )
    draws = len(outputs)
    rest = outputs - follows[:draws]
    mean = rest.mean(axis=0) + follows.mean(axis=0)
    error = rest.var(axis=0, ddof=1).mean() / draws
    error += follows.var(axis=0, ddof=1).mean() / len(follows)
    predicted = centred(np.asarray(law.mean))
    x, y = predicted - predicted.mean(), mean - mean.mean()
    slope = (x * y).sum() / (x**2).sum()
    left = ((y - slope * x) ** 2).mean() - error
    spread = np.sqrt(
        outputs.var(axis=0, ddof=1).sum() / np.asarray(law.gap_variance()).sum()
    )
    return {
        "slope": float(slope),
        "r2": float(1 - left / (y**2).mean()),
        "r2_raw": float(1 - ((y - slope * x) ** 2).mean() / (y**2).mean()),
        "spread_ratio": float(spread),
    }


def _reliability(law, exact, rule: np.ndarray, inits: int | None) -> list[Row]:
    """Predicted flips of the class-mean decision beside those of the exact draws."""
    found = theory.reliability(
        theory.flip_probability(law, rule), theory.observed_flips(exact, rule, inits)
    )
    names = ("points", "predicted", "observed", "low", "high", "stderr")
    return [
        {"up_to": float(edge)}
        | {name: float(getattr(found, name)[i]) for name in names if found.points[i]}
        for i, edge in enumerate(found.edges[1:])
    ]


def controlled(
    exact: Sequence[float], surrogate: Sequence[float]
) -> tuple[float, float]:
    """Returns mean and standard error of `exact` with `surrogate` as control variate.

    The first surrogates are those of the exact draws.
    """
    follows = np.asarray(surrogate)
    rest = np.asarray(exact) - follows[: len(exact)]
    error = np.hypot(theory.standard_error(rest), theory.standard_error(follows))
    return float(rest.mean() + follows.mean()), float(error)


def _lines(rows: Sequence[Row], inits: str) -> list[str]:
    lines = []
    for row in rows:
        law = row[f"law{inits}"]
        exact = row[f"exact{inits}"]
        mean, error = controlled(exact, row[f"surrogate{inits}"])
        raw = theory.standard_error(np.asarray(exact))
        rest = np.asarray(exact) - np.asarray(row[f"surrogate{inits}"])[: len(exact)]
        lines.append(
            f"{row['p']:>6g} {row['subset']:>6d}   {law:.4f}  {np.mean(exact):.4f} "
            f"±{raw:.4f}  {mean:.4f} ±{error:.4f}   {law - mean:+.4f}"
            f"   {rest.mean():+.4f} ±{theory.standard_error(rest):.4f}   "
            f"{row['level']:<10}{'' if row['valid'] else 'not valid: ' + row['doubts']}"
        )
    return lines


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Law and exact kernel by level, raw and with the control variate."""
    rows = sorted(rows, key=lambda row: (row["subset"], row["p"]))
    head = (
        f"{'p':>6} {'subset':>6}   law     exact draws     with control     "
        "law - exact  exact - surrogate  level"
    )
    lines = ["", "average over all initialisations", head, *_lines(rows, "")]
    if rows[0]["single"]:
        lines += ["", "one network", head, *_lines(rows, "_1")]
        lines += ["", "mean of 10 networks", head, *_lines(rows, "_10")]
    lines += [
        "",
        f"{'p':>6} {'slope':>8} {'R2':>8} {'spread':>8} {'sd(acc)':>9} {'law':>8}"
        + (f" {'init_var':>10} {'law':>9}" if rows[0]["single"] else ""),
    ]
    for row in rows:
        sd = np.std(row["exact"], ddof=1)
        text = (
            f"{row['p']:>6g} {row['slope']:>8.4f} {row['r2']:>8.4f} "
            f"{row['spread_ratio']:>8.3f} {sd:>9.4f} {row['law_std']:>8.4f}"
        )
        if row["single"]:
            text += f" {row['exact_init_var']:>10.5f} {row['law_init_var']:>9.5f}"
        lines.append(text)
    for inits, name in (
        ("inf", "average over all initialisations"),
        ("1", "one network"),
    ):
        if inits in rows[0]["reliability"]:
            lines += [
                "",
                f"flips of the class-mean decision, {name}",
                *_flips(rows, inits),
            ]
    return "\n".join([*lines, ""])


def _flips(rows: Sequence[Row], inits: str) -> list[str]:
    lines = [
        f"{'p':>6} {'up to':>6} {'points':>7} {'predicted':>10} {'observed':>9} "
        f"{'±draws':>7}  binomial 95 %"
    ]
    for row in rows:
        lines += [
            f"{row['p']:>6g} {line['up_to']:>6g} {line['points']:>7.0f} "
            f"{line['predicted']:>10.4f} {line['observed']:>9.4f} "
            f"{line['stderr']:>7.4f}  [{line['low']:.4f}, {line['high']:.4f}]"
            for line in row["reliability"][inits]
            if "points" in line
        ]
    return lines


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Accuracy by law and kernel above, their difference below."""
    from matplotlib.figure import Figure

    rows = sorted(rows, key=lambda row: row["p"])
    levels = np.array(sorted({row["p"] for row in rows}))
    fig = Figure(figsize=(7.0, 6.0), layout="constrained")
    top, bottom = fig.subplots(2, 1, height_ratios=[2, 1], sharex=True)
    names = [("", "mean of all initialisations")]
    if rows[0]["single"]:
        names += [("_10", "mean of 10 networks"), ("_1", "one network")]
    for (inits, label), colour in zip(names, plots.PALETTE, strict=False):
        law = np.array([row[f"law{inits}"] for row in rows])
        exact = np.array(
            [controlled(row[f"exact{inits}"], row[f"surrogate{inits}"]) for row in rows]
        )
        p = np.array([row["p"] for row in rows])
        top.plot(p, law, color=colour, label=f"law, {label}")
        top.errorbar(p, exact[:, 0], 2 * exact[:, 1], fmt="o", color=colour, ms=3)
        bottom.errorbar(
            p, law - exact[:, 0], 2 * exact[:, 1], fmt="o-", color=colour, ms=3
        )
    bottom.axhline(0, color="0.5", linewidth=1)
    bottom.set_ylabel("law - exact")
    top.set_ylabel("accuracy on clean images")
    top.legend(fontsize="small", frameon=False)
    plots.corruption_axis(bottom, levels)
    fig.suptitle(_settings.title(rows[0]), fontsize="medium")
    return fig


def estimate(config: LawAgainstKernel, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    n, m = config.n_train, config.n_test or 10_000
    one = (n**3 / 3 + (2 if config.single else 0.1) * n**2 * m) * 2e-11
    return 20 + config.draws * one + config.surrogates * n * 786**2 * 4e-11


EXPERIMENT = _runner.Experiment(
    name="law_against_kernel",
    config=LawAgainstKernel,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=table,
    figure=figure,
    estimate=estimate,
)


if __name__ == "__main__":
    _runner.main(EXPERIMENT)
