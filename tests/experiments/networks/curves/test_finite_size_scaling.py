"""The phase diagram over level, batch size and images, from end to end."""

import numpy as np
import pytest
from closeness import raises

from experiments import finite_size_scaling
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.networks.curves import scaling_report
from experiments.networks.curves.finite_size_scaling import _each, check


def tiny(**settings):
    return finite_size_scaling.EXPERIMENT.configure(
        "smoke", **{"n_test": 60, "width": 12, **settings}
    )


# weekly: a whole run; what it is made of is tested always
@pytest.mark.slow
def test_every_pair_is_run_and_told(tmp_path):
    rows = runner.execute(finite_size_scaling.EXPERIMENT, tiny(), workdir=tmp_path)
    asked = {(n, b) for n in (60, 120) for b in (8, 0)}
    assert {(row["n_train"], row["batch"]) for row in rows} == asked
    assert {row["batch_size"] for row in rows if row["batch"] == 0} == {60, 120}
    text = scaling_report.table(RunDirectory(tmp_path), rows)
    for part in ("falls to .15 and .20", "1 - p_c = a B^-beta", "not normalised"):
        assert part in text
    # the score of the source is least where kappa takes all curves to zero
    for line in text.splitlines():
        if "not normalised" in line:
            assert "AT AN EDGE" in line
            assert "kappa -2.000" in line
    picture = tmp_path / "figures" / "finite_size_scaling.png"
    assert picture.stat().st_size > 10_000


def test_steps_and_rates_of_larger_batches():
    each = _each
    of = lambda name, **settings: [getattr(c, name) for c in each(tiny(**settings))]
    # n 60: batches of 8 and 60; n 120: 8 and 120
    assert of("batch_size") == [8, 60, 8, 120]
    assert of("epochs") == [3, 3, 3, 3]
    assert of("epochs", budget="steps") == [3, 24, 3, 45]
    np.testing.assert_allclose(
        of("learning_rate", scale_rate=True), [0.1, 0.75, 0.1, 1.5]
    )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"budget": "time"}, "unknown --budget 'time'"),
        ({"n_trains": (120, 60)}, "`--n_trains` must be rising"),
        ({"p": (0.9, 0.2)}, "`--p` must be rising"),
        ({"p": (0.9,)}, "`--p` must be two levels or more"),
        ({"batch_sizes": (-1,)}, "`--batch_sizes` must be positive, or 0 for all"),
    ],
)
def test_bad_settings(settings, text):
    with raises(text):
        check(tiny(**settings))
