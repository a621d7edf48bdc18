"""The experiment on empirical kernels: before and after, its limit, a whole run."""

import dataclasses

import jax
import numpy as np
import pytest
from closeness import raises

from experiments import empirical_ntk
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.networks.inside import empirical_report
from experiments.networks.inside.empirical_ntk import (
    _points,
    cells,
    check,
    compute,
    estimate,
    infinite,
)
from experiments.shared import settings as shared_settings
from experiments.shared import trained
from ntk_corrupt.kernels import empirical

MODES, INPUTS = empirical_report.MODES, empirical_report.INPUTS
# Of kernels in float32: relative to their size, and of the 12 eigenvalues relative to
# the largest.
F32 = float(128 * np.finfo(np.float32).eps)
NEGATIVE = 12 * 16 * np.finfo(np.float32).eps
TIE = 1.5 / 40  # two programs may decide a tie differently: one of 40 images
KINDS = [f"{mode}_{inputs}" for mode in MODES for inputs in INPUTS]


def tiny(**settings):
    chosen = {"n_test": 40, "points": 12, "widths": (8,), **settings}
    return empirical_ntk.EXPERIMENT.configure(
        "smoke", **{"learning_rate": 0.01, **chosen}
    )


def one_cell(**settings):
    config = tiny(p=(0.4,), repeats=1, **settings)
    (cell,) = cells(config)
    row, _ = compute(config, cell)
    return {name: values[0] for name, values in row.items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("empirical_ntk")
    config = tiny(epochs=6)
    return workdir, runner.execute(empirical_ntk.EXPERIMENT, config, workdir=workdir)


def test_every_level_is_run(run):
    workdir, rows = run
    assert [(row["width"], row["p"]) for row in rows] == [(8, 0.2), (8, 0.9)]
    directory = RunDirectory(workdir)
    for row in rows:
        arrays = directory.arrays(row)
        for kind in KINDS:
            for time in (*empirical_report.TIMES, "infinite"):
                values = arrays[f"{kind}_{time}"]
                assert values.shape == (2, 12)
                assert (np.diff(values) >= 0).all()
                ranks = row[f"{kind}_{time}_effective_rank"]
                share = values / values.sum(axis=1, keepdims=True)
                entropy = -(share * np.log(np.maximum(share, 1e-300))).sum(axis=1)
                np.testing.assert_allclose(ranks, np.exp(entropy), rtol=1e-9)
                np.testing.assert_allclose(
                    row[f"{kind}_{time}_trace"], values.sum(axis=1), rtol=1e-9
                )
                assert min(row[f"{kind}_{time}_negative"]) > -NEGATIVE
            assert min(row[f"{kind}_moved"]) > 1e-3
            assert max(row[f"{kind}_alignment"]) < 1
            # images of another subset, and another network
            assert len(set(row[f"{kind}_before_trace"])) == 2


def test_inputs_and_levels(run):
    _, rows = run
    low, high = rows
    for mode in MODES:
        clean, corrupted = (f"{mode}_{inputs}_before_trace" for inputs in INPUTS[::-1])
        # of the same images and untrained networks at every level
        assert low[clean] == pytest.approx(high[clean], rel=F32)
        assert low[corrupted] != pytest.approx(high[corrupted], rel=1e-3)
        assert low[clean] != pytest.approx(low[corrupted], rel=1e-3)
    # noise makes images less alike
    name = "trace_corrupted_infinite_effective_rank"
    assert np.mean(high[name]) > 1.1 * np.mean(low[name])


def test_table_and_figure(run):
    workdir, rows = run
    directory = RunDirectory(workdir)
    text = empirical_report.table(directory, rows)
    for part in ("width 8;", "true clean, infinite", "trace after / before"):
        assert part in text
    assert text.count("p = 0.9 over p = 0.2") == 2
    assert "power of the width" not in text
    figure = workdir / "figures" / "empirical_ntk.png"
    assert figure.stat().st_size > 10_000
    # four times as wide, half as far
    name = "true_corrupted_before_from_infinite"
    wide = [{**row, "width": 32, name: [v / 2 for v in row[name]]} for row in rows]
    text = empirical_report.table(directory, [*rows, *wide])
    (line,) = [
        at for at in text.splitlines() if at.startswith("before from infinite, t")
    ][:1]
    assert line.split()[-2:] == ["-0.50", "-0.50"]
    assert len(empirical_report.figure(directory, [*rows, *wide]).axes) == 6


def test_a_network_that_hardly_trains_keeps_its_kernel():
    found = one_cell(learning_rate=1e-9)
    for kind in KINDS:
        assert found[f"{kind}_moved"] < F32
        assert found[f"{kind}_alignment"] == pytest.approx(1, abs=F32)
        before, after = (
            found[f"{kind}_{t}_effective_rank"] for t in ("before", "after")
        )
        assert after == pytest.approx(before, rel=1e-4)
    assert found["accuracy_after"] == pytest.approx(found["accuracy_before"], abs=TIE)
    assert one_cell(epochs=8)["accuracy_after"] > found["accuracy_before"]


@pytest.mark.parametrize(
    "settings",
    [
        {"parametrisation": "ntk"},
        {"parametrisation": "standard"},
        {"parametrisation": "standard", "biases": False, "depth": 3},
        {"parametrisation": "ntk", "b_var": 0.2, "w_var": 1.5, "activation": "erf"},
    ],
)
def test_wide_networks_have_the_kernel_of_infinite_width(settings):
    config = dataclasses.replace(tiny(**settings), width=2048)
    x, _ = _points(config, 0, 0.4)
    model = shared_settings.network(config, 10)
    found = empirical.ntk(model, model.init(jax.random.key(0), x), x) / 10
    # about 1/sqrt(width) for each layer
    limit = infinite(config, x)
    assert empirical.distance(found, limit) < 4 / 2048**0.5


def test_both_modes_approach_the_kernel_of_infinite_width():
    found = one_cell(widths=(1024,), epochs=1, learning_rate=1e-9)
    far = 4 / 1024**0.5  # as above
    for kind in KINDS:
        assert found[f"{kind}_before_from_infinite"] < far
        assert found[f"{kind}_after_from_infinite"] < far
        assert found[f"{kind}_before_trace"] == pytest.approx(
            found[f"{kind}_infinite_trace"], rel=far
        )


def test_points_are_random_and_of_every_level():
    config = tiny(n_test=None)
    problem = shared_settings.problem(config, 0)
    (one, labels), (two, _) = (_points(config, 0, p) for p in (0.2, 0.9))
    np.testing.assert_array_equal(one[12:], two[12:])
    assert (one[:12] != two[:12]).any()
    np.testing.assert_array_equal(labels[:12], labels[12:])
    other, _ = _points(config, 1, 0.2)
    assert (other[12:] != one[12:]).any()
    images = np.asarray(problem.x_test)
    rows = [np.flatnonzero((images == x).all(axis=1))[0] for x in np.asarray(one[12:])]
    assert max(rows) > 100  # not the first ones
    assert (problem.labels_test[np.array(rows)] == labels[12:]).all()


def test_settings_of_the_cell_decide(monkeypatch):
    seen, train = [], trained.train

    def record(config, p, repeat, probes_of):
        seen.append((config, p, repeat))
        return train(config, p, repeat, probes_of)

    monkeypatch.setattr(trained, "train", record)
    config = tiny(p=(0.3,), epochs=2, stop_loss=0.5)
    (cell,) = cells(config)
    other = dataclasses.replace(config, widths=(3,), points=5, epochs=7)
    _, arrays = compute(other, cell)
    assert arrays["true_clean_after"].shape == (2, 12)
    assert [(c.width, c.epochs, c.stop_loss, p, r) for c, p, r in seen] == [
        (8, epochs, stop, 0.3, repeat)
        for repeat in (0, 1)
        for epochs, stop in ((0, None), (2, 0.5))
    ]


def row_of_ranks(p, ranks):
    name = "true_corrupted_after_effective_rank"
    return {"p": p, name: ranks}


def test_what_is_expected_is_computed():
    rows = [
        row_of_ranks(p, [rank - 1, rank + 1])
        for p, rank in ((0.0, 24), (0.2, 27), (0.6, 25), (0.9, 20))
    ]
    peak, fall = empirical_report.expected(rows, "true")
    assert peak.holds
    assert list(peak.own) == [0.2]
    assert fall.holds
    assert list(fall.own) == [20 / 27]
    rows[-1] = row_of_ranks(0.9, [27.5, 28.5])
    peak, fall = empirical_report.expected(rows, "true")
    assert list(peak.own) == [0.9]
    assert not peak.holds
    assert not fall.holds
    assert empirical_report.expected(rows[:1], "true") == []
    rows[0] = row_of_ranks(0.0, [None, 1.0])
    assert empirical_report.expected(rows, "true") == []


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"widths": (16, 8)}, "`--widths` must be rising"),
        ({"widths": ()}, "`--widths` must be rising"),
        ({"points": 41}, "`--points` must be in 2 ... 40"),
        ({"points": 1}, "`--points` must be in 2 ... 40"),
        ({"epochs": -1}, "`epochs` must be an integer of at least 0"),
    ],
)
def test_bad_settings(settings, text):
    with raises(text):
        check(tiny(**settings))


def test_presets():
    for preset in set(empirical_ntk.PRESETS) - {"mnist", "paper"}:  # other folders
        config = empirical_ntk.EXPERIMENT.configure(preset)
        check(config)
        for cell in cells(config):
            assert 0 < estimate(config, cell) < 200
