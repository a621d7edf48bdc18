"""How close is the resummed law to the exact kernel that it stands for?

At each corruption level: the accuracy that the law predicts, and that of exact kernels
drawn on the same training images. A dozen draws leave an error of .01; the law's own
surrogate, which is cheap and follows the kernel draw by draw, is the control variate
that takes most of it away:

    exact = mean over draws of (exact - surrogate) + mean over many surrogates.

    python -m experiments.law_against_kernel --workdir=results/law
"""

import dataclasses

import numpy as np

import theory
from experiments import _flips, _law_report, _runner, _settings
from experiments._runner import setting
from ntk_corrupt.results import Cell, Row
from theory.errors import InputError

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
        "n_train": 60,
        "n_test": 60,
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
    decide = (
        *_settings.of_kernel(config),
        "draws",
        "surrogates",
        "landmarks",
        "single",
    )
    own = {name: settings[name] for name in decide}
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
    row["reliability"] = {"inf": _flips.in_bins(law, exact, rule, None)}
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
        row["reliability"]["1"] = _flips.in_bins(law.averaged(1), exact, rule, 1)
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
    outputs, follows = (
        theory.centred(np.asarray(d.outputs[:, 0])) for d in (exact, surrogates)
    )
    draws = len(outputs)
    rest = outputs - follows[:draws]
    mean = rest.mean(axis=0) + follows.mean(axis=0)
    error = rest.var(axis=0, ddof=1).mean() / draws
    error += follows.var(axis=0, ddof=1).mean() / len(follows)
    line = theory.fit_line(theory.centred(np.asarray(law.mean)), mean)
    spread = np.sqrt(
        outputs.var(axis=0, ddof=1).sum() / np.asarray(law.gap_variance()).sum()
    )
    return {
        "slope": line.slope,
        "r2": float(1 - (line.rmse**2 - error) / mean.var()),
        "r2_raw": line.r2,
        "spread_ratio": float(spread),
    }


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
    table=_law_report.table,
    figure=_law_report.figure,
    estimate=estimate,
)


if __name__ == "__main__":
    _runner.main(EXPERIMENT)
