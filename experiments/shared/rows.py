"""Rows of routes: what is stored with a cell, read back and pooled."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

import theory
from experiments.harness.run_directory import Row, RunDirectory
from theory.outputs import soundness
from theory.outputs.law import Labels
from theory.routes import of_width

# Sizes of averages over initialisations that the analytic routes are evaluated for.
AVERAGES = (1, 2, 3, 4, 5, 10, 20, 50)


def accuracies(
    found: theory.OutputLaw | theory.Draws, labels: Labels
) -> dict[str, list[float]]:
    """Accuracy of each draw, or of the law, by the size of averages over networks.

    "inf" is the average over all initialisations. With the decisions of a rule as
    `labels` it is the share decided as the rule does.
    """
    if isinstance(found, theory.OutputLaw):
        by_inits = {"inf": [found.accuracy(labels)]}
        if found.init_var is not None:
            for inits in AVERAGES:
                by_inits[str(inits)] = [found.averaged(inits).accuracy(labels)]
        return by_inits
    analytic = found.init_var is not None
    inits = AVERAGES if analytic else {1, found.outputs.shape[1]}
    by_inits = {
        str(m): np.asarray(found.accuracies(labels, m)).tolist() for m in sorted(inits)
    }
    if analytic:
        by_inits["inf"] = np.asarray(found.accuracies(labels)).tolist()
    return by_inits


def kept(
    found: theory.OutputLaw | theory.Draws, labels: Labels
) -> tuple[Row, dict[str, np.ndarray]]:
    """What a cell stores of a law, or of draws: numbers of its row, and its arrays.

    Raises:
        NumericalError: outputs are not finite: they would be decided for all the same.
    """
    outputs = found.mean if isinstance(found, theory.OutputLaw) else found.outputs
    if not bool(np.isfinite(outputs).all()):
        raise theory.NumericalError(
            "outputs came out as NaN or infinity: take another --activation, a smaller "
            "--depth or --x64"
        )
    row: Row = {"accuracies": accuracies(found, labels)}
    if isinstance(found, theory.OutputLaw):
        names = [name for name in ("level", "valid") if name in found.diagnostics]
        row |= {name: found.diagnostics[name] for name in names}
        if "doubts" in found.diagnostics:
            row["doubts"] = "; ".join(found.diagnostics["doubts"])
        arrays = {"mean": np.asarray(found.mean), "cov": np.asarray(found.cov)}
        for name in ("init_var", "kernel_cov"):
            if getattr(found, name) is not None:
                arrays[name] = np.asarray(getattr(found, name))
        return row, arrays
    row |= {
        f"mean_{name}": np.asarray(value).mean().item()
        for name, value in found.diagnostics.items()
    }
    if row.get("mean_remainder", 0.0) > of_width.LARGEST_REMAINDER:
        row["doubts"] = of_width.NARROW
    arrays = {"outputs": np.asarray(found.outputs, np.float32)}
    for name in ("init_var", "kernel_cov"):
        if getattr(found, name) is not None:
            arrays[name] = np.asarray(getattr(found, name), np.float32)
    if found.draw_keys is not None:
        arrays["draw_keys"] = np.asarray(found.draw_keys)
    return row, arrays


def stored(directory: RunDirectory, row: Row) -> theory.OutputLaw | theory.Draws:
    """What a computed cell holds: the law, or the draws.

    Raises:
        InputError: the arrays are of no law and no draws.
    """
    arrays = directory.arrays(row)
    wrong = _wrong(arrays, row)
    if wrong:
        raise theory.InputError(
            f"the arrays of cell {row['key']} in {directory.path} are no outputs: "
            f"{wrong}. Remove arrays/{row['key']}.npz, and the cell is computed again."
        )
    return held(arrays)


def _wrong(arrays: Mapping[str, np.ndarray], row: Row) -> str | None:
    fields = {**arrays, "diagnostics": {"doubts": row.get("doubts")}}
    if "outputs" in arrays:
        return soundness.draws(fields)
    if missing := {"mean", "cov"} - set(arrays):
        return f"without {', '.join(sorted(missing))}"
    return soundness.law(fields)


def stored_law(directory: RunDirectory, row: Row) -> theory.OutputLaw:
    """The law of a cell that holds one."""
    found = stored(directory, row)
    assert isinstance(found, theory.OutputLaw)
    return found


def stored_draws(directory: RunDirectory, row: Row) -> theory.Draws:
    """The draws of a cell that holds them."""
    found = stored(directory, row)
    assert isinstance(found, theory.Draws)
    return found


def held(arrays: Mapping[str, np.ndarray]) -> theory.OutputLaw | theory.Draws:
    """The law, or the draws, of the arrays of a cell."""
    if "mean" in arrays:
        init_var = arrays.get("init_var")
        if init_var is not None and np.isnan(init_var).all():
            init_var = None  # as it was written before it could be absent
        shared = arrays.get("kernel_cov")
        mean, cov, init_var, shared = (  # jnp.asarray compiles one for every shape
            None if part is None else jax.device_put(part)
            for part in (arrays["mean"], arrays["cov"], init_var, shared)
        )
        assert mean is not None
        assert cov is not None
        return theory.OutputLaw(
            mean=mean, cov=cov, init_var=init_var, kernel_cov=shared
        )
    outputs, keys, init_var, shared = (
        None if name not in arrays else jax.device_put(arrays[name])
        for name in ("outputs", "draw_keys", "init_var", "kernel_cov")
    )
    assert outputs is not None
    return theory.Draws(
        outputs=outputs, init_var=init_var, kernel_cov=shared, draw_keys=keys
    )


def matching(rows: Sequence[Row], setting: Mapping[str, Any]) -> list[Row]:
    """Returns the rows of the setting; one that does not hold for a route is alike."""
    return [row for row in rows if all(row.get(k, v) == v for k, v in setting.items())]


def pool(
    rows: Sequence[Row], inits: str, of: str = "accuracies"
) -> tuple[float, float] | None:
    """Mean accuracy and standard error over the subsets and draws of `rows`.

    `of` may name another share that the rows hold as they hold accuracies. None where
    they do not know this average; the error is NaN where nothing tells.
    """
    if not rows or any(inits not in row.get(of, {}) for row in rows):
        return None
    # The mean of a subset's draws is one number: its draws share the training images.
    per_subset = [np.mean(row[of][inits]) for row in rows]
    if len(rows) > 1:
        stderr = theory.standard_error(np.asarray(per_subset))
    else:
        stderr = theory.standard_error(np.asarray(rows[0][of][inits]))
    return float(np.mean(per_subset)), stderr
