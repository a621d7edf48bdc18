"""The laws against exact kernels, point by point: settings and cells."""

import dataclasses

import numpy as np

import theory
from experiments.harness.flags import setting
from experiments.harness.lines import known
from experiments.harness.run_directory import Cell, Row
from experiments.laws import flips
from experiments.shared import routes
from experiments.shared import settings as shared_settings
from theory.errors import InputError

_INITS = (1, 10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LawAgainstKernel(shared_settings.Kernels):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.5, 0.8, 0.9, 0.95, 0.97, 0.99),
        "levels; without noise there is nothing to draw",
        above=0,
    )
    subsets: int = setting(
        1, "training subsets, each drawn from the whole data set", most=10_000
    )
    draws: int = setting(12, "exact kernels per level", least=2)
    surrogates: int = setting(100, "surrogate draws per level, the exact ones included")
    landmarks: int | None = setting(
        None, "landmarks of the law; none lets its diagnostics choose"
    )
    single: bool = setting(True, "whether to compare single networks too")


def check(config: LawAgainstKernel) -> None:
    """Raises `InputError` on bad settings."""
    if config.surrogates < config.draws:
        raise InputError(
            f"`--surrogates` must be at least --draws = {config.draws}, "
            f"got {config.surrogates}."
        )
    shared_settings.check(config, config.p)
    routes.check_kernel(config)


def cells(config: LawAgainstKernel) -> list[Cell]:
    """One cell per corruption level and training subset."""
    settings = dataclasses.asdict(config)
    decide = (
        *shared_settings.of_kernel(config),
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
    problem = shared_settings.problem(config, subset)
    arch, noise = (
        shared_settings.architecture(config),
        shared_settings.corruption(config, p),
    )
    key, labels = shared_settings.corruption_key(config, subset), problem.labels_test
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
        "doubts": "; ".join(law.diagnostics["doubts"]),
    }
    row |= _pointwise(law, exact, surrogates)
    rule = np.asarray(theory.class_mean_scores(problem).argmax(axis=1))
    row["reliability"] = {"inf": flips.in_bins(law, exact, rule, None)}
    if config.single:
        row["law_init_var"] = float(np.asarray(law.init_var).mean())
        row["exact_init_var"] = float(np.asarray(exact.init_var).mean())
        # the initialisations of a surrogate have the variance that the law predicts
        follows = dataclasses.replace(
            surrogates,
            init_var=np.broadcast_to(
                np.asarray(law.init_var), (config.surrogates, len(law.mean))
            ),
        )
        row["reliability"]["1"] = flips.in_bins(law.averaged(1), exact, rule, 1)
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
    # of pure noise there is no line
    return {
        "slope": known(line.slope),
        "r2": known(float(1 - (line.rmse**2 - error) / mean.var())),
        "r2_raw": known(line.r2),
        "spread_ratio": float(spread),
    }


def estimate(config: LawAgainstKernel, cell: Cell) -> float:
    """Returns a rough number of seconds on two cores."""
    n, m = config.n_train, config.n_test or 10_000
    one = (n**3 / 3 + (2 if config.single else 0.1) * n**2 * m) * 2e-11
    return 20 + config.draws * one + config.surrogates * n * 786**2 * 4e-11
