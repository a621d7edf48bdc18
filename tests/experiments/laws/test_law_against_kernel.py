"""The comparison of law and kernel: its control variate, and one run of the script."""

import numpy as np
import pytest
from closeness import raises

import theory
from experiments.harness import runner
from experiments.law_against_kernel import EXPERIMENT
from experiments.laws.law_report import controlled


def test_the_control_variate_keeps_the_mean_and_cuts_the_error():
    rng = np.random.default_rng(0)
    estimates, plain = [], []
    for _ in range(400):
        surrogate = 0.5 + 0.1 * rng.normal(size=100)
        exact = surrogate[:10] + 0.02 + 0.01 * rng.normal(size=10)
        estimates.append(controlled(exact.tolist(), surrogate.tolist()))
        plain.append(exact.mean())
    means, errors = np.array(estimates).T
    spread = means.std(ddof=1)
    assert abs(means.mean() - 0.52) < 5 * spread / 20
    # 400 repetitions know a standard deviation to 4 %
    np.testing.assert_allclose(errors.mean(), spread, rtol=0.2)
    assert spread < 0.5 * np.std(plain, ddof=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = EXPERIMENT.configure("smoke", p=(0.8,), draws=4, surrogates=8)
    workdir = tmp_path_factory.mktemp("law")
    rows = runner.execute(EXPERIMENT, config, workdir=workdir)
    return config, workdir, rows


# weekly: the whole script; its parts, and routes end to end in test_accuracy_curve.py,
# are tested always
@pytest.mark.slow
def test_a_run_says_what_the_routes_say(run):
    config, workdir, (row,) = run
    assert row["valid"]
    assert len(row["exact"]) == 4
    assert len(row["surrogate"]) == 8
    mean, error = controlled(row["exact"], row["surrogate"])
    assert abs(row["law"] - mean) < 5 * error + 0.05
    raw = theory.standard_error(np.asarray(row["exact"]))
    assert error < raw + theory.standard_error(np.asarray(row["surrogate"]))
    assert 0 < row["law_1"] < row["law_10"] < row["law"] + 0.02
    np.testing.assert_allclose(row["law_init_var"], row["exact_init_var"], rtol=0.1)
    points = sum(line.get("points", 0) for line in row["reliability"]["inf"])
    assert points == config.n_test
    for name in ("png", "pdf"):
        assert (workdir / "figures" / f"law_against_kernel.{name}").stat().st_size


def test_bad_flags_are_refused(tmp_path):
    for settings, text in (
        ({"draws": 1}, "`--draws` must be at least 2, got 1"),
        ({"p": (0.0, 0.5)}, "`--p` must be positive, got 0.0"),
        ({"activation": "step"}, "`--activation` must have a slope"),
        ({"surrogates": 2}, "`--surrogates` must be at least --draws = 3, got 2"),
    ):
        config = EXPERIMENT.configure("smoke", **settings)
        with raises(text):
            runner.execute(EXPERIMENT, config, workdir=tmp_path / "never")
        assert not (tmp_path / "never").exists()
