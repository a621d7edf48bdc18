"""What cells store of laws and draws, and what is refused of it."""

import jax.numpy as jnp
import numpy as np
import pytest

import theory
from experiments.harness.run_directory import Cell, RunDirectory
from experiments.shared import rows

CELL = Cell({"p": 0.5})
LABELS = np.array([0, 1])


def law(mean=1.0):
    return theory.OutputLaw(
        mean=jnp.asarray([[mean, 0.0], [0.0, mean]]),
        cov=jnp.asarray(np.tile(np.eye(2), (2, 1, 1))),
        init_var=jnp.ones(2),
    )


def store(directory, row, arrays):
    with directory.writing():
        directory.save(CELL, row, arrays)
    return directory.rows([CELL])[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_a_failure(value):
    """Their largest would be decided for, and count as an accuracy."""
    with pytest.raises(theory.NumericalError, match="outputs came out as NaN"):
        rows.kept(law(value), LABELS)
    draws = theory.Draws(outputs=jnp.full((2, 1, 2, 3), value))
    with pytest.raises(theory.NumericalError, match="outputs came out as NaN"):
        rows.kept(draws, LABELS)


@pytest.mark.parametrize(("share", "doubted"), [(0.2, False), (0.3, True)])
def test_draws_of_a_width_out_of_its_range_say_so(share, doubted):
    draws = theory.Draws(
        outputs=jnp.zeros((2, 1, len(LABELS), 3)),
        draw_keys=jnp.zeros((2, 2), jnp.uint32),
        init_var=jnp.ones((2, len(LABELS))),
        diagnostics={"remainder": jnp.full(2, share)},
        averaged=True,
    )
    row, _ = rows.kept(draws, LABELS)
    assert (row.get("doubts") == "too many images for this width") == doubted


def test_what_is_stored_comes_back(tmp_path):
    directory = RunDirectory(tmp_path)
    row = store(directory, *rows.kept(law(), LABELS))
    np.testing.assert_array_equal(rows.stored_law(directory, row).mean, law().mean)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cov": None}, "without cov"),
        ({"mean": np.ones((2, 2), int)}, "`mean` must be float32 or float64"),
        ({"cov": np.ones((2, 3, 3))}, r"`cov` must have shape \(2, 2, 2\)"),
        ({"cov": np.full((2, 2, 2), np.nan)}, "`cov` must be finite"),
        ({"outputs": np.ones((2, 2))}, "`outputs` must have shape"),
    ],
)
def test_arrays_of_no_law_are_refused_with_the_way_out(tmp_path, changed, message):
    """Of older versions: newer ones have a checksum, which tells first."""
    row, arrays = rows.kept(law(), LABELS)
    arrays = {k: v for k, v in (arrays | changed).items() if v is not None}
    directory = RunDirectory(tmp_path)
    row = store(directory, row, arrays)
    with pytest.raises(
        theory.InputError, match=message + f".*Remove arrays/{CELL.key}"
    ):
        rows.stored(directory, row)
