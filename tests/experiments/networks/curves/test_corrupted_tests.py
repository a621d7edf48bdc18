"""One network on test images corrupted many times, from end to end."""

import numpy as np
import pytest
from closeness import raises

from experiments import corrupted_tests
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.networks.curves import corrupted_report
from experiments.networks.curves.corrupted_report import _expected, _published
from experiments.networks.curves.corrupted_tests import check
from experiments.shared import reference

# Two programs may decide a tie differently: one image of the hundred.
TIE = 1.5 / 100


def smoke(**settings):
    return corrupted_tests.EXPERIMENT.configure("smoke", **settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("corrupted_tests")
    config = smoke(learning_rate=0.02, activations=("relu", "tanh"))
    return workdir, runner.execute(corrupted_tests.EXPERIMENT, config, workdir=workdir)


# weekly: a whole run; what it is made of is tested always
@pytest.mark.slow
def test_cells_are_one_network_or_one_level(run):
    _, rows = run
    assert [(row["activation"], row["arm"], row["p_test"]) for row in rows] == [
        (name, arm, levels)
        for name in ("relu", "tanh")
        for arm, levels in (
            ("clean", [0.0, 0.6, 1.0]),
            *(("same", [level]) for level in (0.0, 0.6, 1.0)),
        )
    ]


@pytest.mark.slow
def test_without_corruption_all_trials_are_the_clean_test(run):
    workdir, rows = run
    for row in rows:
        if row["p_test"][0] == 0:
            seen = RunDirectory(workdir).arrays(row)["corrupted"]
            assert seen.shape == (2, len(row["p_test"]), 3)
            expected = np.repeat(np.array(row["clean"])[:, None], 3, axis=1)
            np.testing.assert_allclose(seen[:, 0], expected, rtol=0, atol=TIE)
            assert np.array(row["spread"])[:, 0] == pytest.approx(0, abs=TIE)
    # trained alike, on clean images
    same = {row["arm"]: row["clean"] for row in rows[:2]}
    np.testing.assert_allclose(same["clean"], same["same"], rtol=0, atol=TIE)


@pytest.mark.slow
def test_noise_alone_is_guessed(run):
    workdir, rows = run
    for row in rows:
        if row["p_test"][-1] == 1:
            seen = RunDirectory(workdir).arrays(row)["corrupted"][:, -1]
            # decisions on 2 x 3 x 100 images of noise; a constant one is right on a
            # share of the labels that is within 1/100 of a tenth
            assert abs(seen.mean() - 0.1) < 5 * (0.09 / 600) ** 0.5
            assert np.ptp(seen) > 0 or row["alive"] == [0, 0]


@pytest.mark.slow
def test_table_and_figure(run):
    workdir, rows = run
    text = corrupted_report.table(RunDirectory(workdir), rows)
    assert "relu, trained clean" in text
    assert "tanh, trained at the level of the test" in text
    # both arms at p = 1, and clean images of what is trained on noise
    assert sum(line.endswith(("holds", "MISSED")) for line in text.splitlines()) == 6
    assert (workdir / "figures" / "corrupted_tests.png").stat().st_size > 10_000


@pytest.mark.slow
def test_expectations_on_mnist_and_the_source(run):
    _, rows = run
    mnist = [{**row, "dataset": "mnist", "n_train": 2000} for row in rows[:1]]
    first, last = _expected(mnist)
    assert (first.least, last.least) == (0.85, pytest.approx(0.07))
    setting = reference.read("corrupted_tests")["setting"]
    full = {**rows[0], **setting, "p_test": [0.0, 0.2], "corrupted": [[0.9, 0.7]]}
    lines = reference.report("corrupted_tests", [full], _published)
    assert [line.split(":")[-1] for line in lines[-2:]] == [" MISSED", " within"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"arms": ("both",)}, "unknown --arms 'both'"),
        ({"trials": 0}, "`--trials` must be at least 1"),
        ({"activations": ()}, "`--activations` must be one or more"),
        ({"activations": ("relux",)}, "unknown activation 'relux'"),
    ],
)
def test_bad_settings(settings, text):
    with raises(text):
        check(smoke(**settings))
