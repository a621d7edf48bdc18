"""Truncated heads of networks trained on wrong labels: a run, choices, verdicts."""

import numpy as np
import pytest
from closeness import raises

from experiments import spectral_truncation
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.shared import verdicts
from experiments.wrong_labels.spectral import cells as spectral_cells
from experiments.wrong_labels.spectral import report, shares, snapshots

EPOCHS, SNAPSHOTS = 12, [0, 1, 12]


def tiny(**settings):
    # as many test images as held-out ones: their programs are the same
    chosen = {"n_test": 50, "learning_rate": 0.01, "width": 20, "epochs": EPOCHS}
    chosen["weight_decay"] = (0.0, 1.0)
    return spectral_truncation.EXPERIMENT.configure("smoke", **{**chosen, **settings})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("spectral_truncation")
    config = tiny(label_noise=("flip", "nearest"), sgd_rate=0.1)
    return workdir, runner.execute(
        spectral_truncation.EXPERIMENT, config, workdir=workdir
    )


def assert_alike(accuracies, others, ties=1):
    """Shares of 50 images differ by so many ties at most.

    Of the same outputs by two programs in float32: about one in a million ties.
    """
    gap = np.abs(np.asarray(accuracies) - np.asarray(others)).max()
    assert gap < (ties + 0.5) / 50


def test_every_arm_is_run(run):
    workdir, rows = run
    by = report.arms(rows)
    assert list(by) == [
        ("flip", 0.0, 0.0),
        ("flip", 0.4, 0.0),
        ("nearest", 0.4, 0.0),
        ("flip", 0.4, 1.0),
        ("flip, sgd", 0.4, 0.0),
    ]
    assert all([row["repeat"] for row in group] == [0, 1] for group in by.values())
    for name in ("full", "truncated", "projected"):
        assert len({row[name] for row in rows}) > 3
    # decay and the noise change training, and not the images or the first weights
    first = {arm: group[0] for arm, group in by.items()}
    start = [RunDirectory(workdir).arrays(row)["test"][0] for row in first.values()]
    assert len(set(start)) == 1
    text = report.table(RunDirectory(workdir), rows)
    for part in ("withdrawn by its author", "tail alone", "epochs ±1", "nearest 0.4"):
        assert part in text
    assert (workdir / "figures" / "spectral_truncation.png").stat().st_size > 10_000


def test_curves_belong_to_their_network(run):
    workdir, rows = run
    for row in rows:
        found = RunDirectory(workdir).arrays(row)
        assert found["test"].shape == (EPOCHS + 1,)
        assert found["by_d"].shape == (3, 21)
        # a head on all components is the whole head, at every epoch looked at
        assert found["rank"].max() <= 20
        assert_alike(found["by_d"][:, -1], found["test"][SNAPSHOTS])
        assert_alike(found["by_d_validation"][:, -1], found["validation"][SNAPSHOTS])
        assert_alike(found["tail"][0], found["test"][-1])
        assert_alike(found["low_rank"][-1], found["test"][-1])
        assert_alike(found["projected"][:, -1], found["test"][-1])
        # normal equations of condition 1/ridge, a thousand times the rounding
        one, other = found["probe_random_end"][:, -1], found["probe_noisy"][-1, -1]
        assert_alike(one, other, ties=2)
        assert len(found["loss"]) == len(found["test"]) - 1  # none before training
        assert found["loss"][-1] < found["loss"][1]
        assert np.isnan(found["fit_tail"]).all() == (row["rho"] == 0)
    for row in rows[:2]:  # nothing is wrong: both kinds of labels are one
        found = RunDirectory(workdir).arrays(row)
        np.testing.assert_array_equal(found["probe_true"], found["probe_noisy"])


def test_validation_is_held_out_and_as_noisy():
    config = tiny(n_train=100, n_val=50)
    seen = spectral_cells.images(config, "flip", 0.4, 0)
    assert len(seen.x) == 100
    assert len(seen.validation[0]) == 50
    both = (np.asarray(seen.x)[:, None] == np.asarray(seen.validation[0])[None]).all(-1)
    assert not both.any()
    assert (np.asarray(seen.noisy) != np.asarray(seen.true)).sum() == 40
    clean = spectral_cells.images(config, "flip", 0.0, 0)
    np.testing.assert_array_equal(clean.noisy, clean.true)
    np.testing.assert_array_equal(clean.x, seen.x)
    held, right = np.asarray(seen.validation[1]), np.asarray(clean.validation[1])
    assert (held != right).sum() == 20
    for labels, count in ((seen.true, 10), (right, 5)):
        assert (np.bincount(np.asarray(labels)) == count).all()
    # fewer held out, the same training images; another repeat, others
    fewer = spectral_cells.images(tiny(n_val=20), "flip", 0.0, 0)
    np.testing.assert_array_equal(fewer.x, seen.x)
    other = spectral_cells.images(config, "flip", 0.4, 1)
    assert (np.asarray(other.x) != np.asarray(seen.x)).any()


def test_cells_hold_what_decides_them():
    config = tiny()
    cells = spectral_cells.cells(config)
    assert len({cell.key for cell in cells}) == len(cells) == 2 * (2 + 2 + 1)
    assert cells[0].settings["snapshots"] == [0, 1, EPOCHS]
    wider = tiny(rho=(0.0, 0.2, 0.4), repeats=3)
    own = {cell.key for cell in cells}
    assert own < {cell.key for cell in spectral_cells.cells(wider)}
    for name, value in (("n_val", 40), ("ridge", 0.1), ("draws", 3), ("width", 8)):
        changed = spectral_cells.cells(tiny(**{name: value}))
        assert not own & {cell.key for cell in changed}


def curves(**settings):
    """Curves of a made-up network: epochs 0 ... 5, two snapshots, d = 0 ... 6."""
    flat = np.full(7, 0.5)
    return {
        "test": np.array([0.1, 0.6, 0.8, 0.7, 0.5, 0.4]),
        "validation": np.array([0.1, 0.5, 0.4, 0.4, 0.3, 0.3]),
        "by_d": np.stack([flat, np.array([0.9, 0.1, 0.3, 0.6, 0.7, 0.5, 0.4])]),
        "by_d_validation": np.stack([flat, [0.9, 0.1, 0.2, 0.5, 0.5, 0.3, 0.2]]),
        "rank": np.array([6, 6]),
        "effective_rank": np.array([5.0, 4.6]),
        "low_rank": np.array([0.1, 0.3, 0.45, 0.4]),
        "low_rank_validation": np.array([0.9, 0.2, 0.1, 0.3]),
        "projected": np.array([[0.0] * 3 + [0.2] + [0.4] * 3] * 2),
        "tail": np.linspace(0.4, 0.1, 7),
        "fit_tail": np.linspace(1, 0.7, 7),
        "fit_top": np.linspace(0, 1, 7),
        "probe_noisy": np.stack([np.linspace(0.9, 0.3, 7), np.linspace(0.2, 0.8, 7)]),
        "probe_true": np.stack([flat, flat]),
        "probe_tail": np.stack([flat, flat]),
        "probe_random_start": np.stack([flat, flat]),
        "probe_random_end": np.stack([flat, flat - 0.2]),
        "reaches": np.array([[2.0, 3.0, 4.0], [2.0, 5.0, 8.0]]),
        **settings,
    }


def test_choices():
    found = snapshots.choices(curves(), 2)
    for name, value in {
        "full": 0.4,
        "best_epoch": 0.8,
        "epoch_best": 2,
        "stop": 0.6,
        "epoch_stop": 1,
        "stop_late": 0.8,
        "d": 3,
        "truncated": 0.6,
        "truncated_late": 0.7,
        "d_best": 4,
        "best_truncated": 0.7,
        "at_classes": 0.3,
        "at_effective_rank": 0.5,
        "d_low_rank": 3,
        "low_rank": 0.4,
        "projected": 0.2,
        "projected_full": 0.4,
        "tail": 0.3,
        "fit_tail": 0.9,
        "untrained_best": 0.8,  # d = 0 is no probe
        "untrained_d_best": 1,
        "untrained_full": 0.3,
        "probe_d_best": 6,
        "probe_random": 0.4,
        "index": 2.5,
        "index_beyond": 4,
        "reach_beyond_start": 4,
        "reach_true_start": 2,
    }.items():
        assert found[name] == pytest.approx(value), name
    # the untrained network and d = 0 are in no window
    expected = [np.std([0.6, 0.8]), np.std([0.6, 0.8, 0.7])]
    np.testing.assert_allclose(found["spread_epochs"][:2], expected)
    np.testing.assert_allclose(found["spread_d"][0], np.std([0.3, 0.6, 0.7]))
    # a rank of 2 ends every choice
    few = snapshots.choices(curves(rank=np.array([6, 2])), 3)
    assert few["d"] == few["d_best"] == 2
    assert few["at_classes"] == few["at_effective_rank"] == 0.3


def made_up(rho=0.4, **settings):
    base = {
        "mode": "flip", "rho": rho, "decay": 0.0, "optimiser": "adam",
        "classes": 10, "full": 0.69,
        "best_epoch": 0.87, "truncated": 0.8, "best_truncated": 0.805, "d": 11,
        "d_best": 12, "at_classes": 0.68, "tail": 0.06, "fit_tail": 0.7,
        "untrained_best": 0.84, "untrained_full": 0.8, "untrained_d_best": 200,
        "untrained_at_classes": 0.67, "probe_at_classes": 0.82, "reach_true": 10,
        "reach_beyond": 20, "reach_beyond_start": 150,
        "spread_epochs": [0.02], "spread_d": [0.001],
    }  # fmt: skip
    return {**base, **settings}


def test_verdicts():
    rows = [made_up(), made_up(d=12), made_up(rho=0.0), made_up(rho=0.0)]
    lines = verdicts.lines(report.expected(report.arms(rows)))[2:]
    assert len(lines) == 10
    assert all(line.endswith("holds") for line in lines)
    for bad in (
        {"truncated": 0.75},
        {"d": 17, "d_best": 17},
        {"d": 9},
        {"best_truncated": 0.85},
        {"tail": 0.2},
        {"fit_tail": 0.5},
        {"untrained_d_best": 29},
        {"untrained_full": 0.7},
        {"probe_at_classes": 0.7},
    ):
        by = report.arms([made_up(**bad), made_up(**bad)])
        lines = verdicts.lines(report.expected(by))[2:]
        assert any(line.endswith("MISSED") for line in lines), bad
    assert not report.expected(report.arms([made_up(rho=0.1)]))


def test_a_transition_over_the_share_of_wrong_labels():
    accuracy = {0.0: 0.95, 0.2: 0.85, 0.4: 0.75, 0.6: 0.65, 0.8: 0.05}
    rows = [
        made_up(rho=rho, full=full + shift, stop=0.9 - rho / 2)
        for rho, full in accuracy.items()
        for shift in (0.0, 0.01)
    ]
    by = report.arms(rows)
    groups = {rho: group for (_, rho, _), group in by.items()}
    at, steps = shares.falls(groups, "full")
    np.testing.assert_allclose(at, [0.1, 0.3, 0.5, 0.7])
    # two lines by hand: .1/.2, and .6/.2 at the end
    np.testing.assert_allclose(steps, [[0.5, 0.5, 0.5, 3.0]] * 2)
    found = {each.what.split(": ")[0]: each for each in shares.expected(groups)}
    whole = found["no transition, whole head"]
    np.testing.assert_allclose(whole.own, 6.0)
    assert not whole.holds
    assert found["no transition, stopped by validation"].holds
    assert list(found["no transition, cut, d by validation"].own) == [0.0, 0.0]
    assert "steepest at 0.7 (repeats: 0.7, 0.7)" in shares.lines(groups)[2]
    assert not shares.expected({0.0: groups[0.0]})
    assert all(each.source != "-" for each in report.expected(by))


def test_claims_of_the_source():
    other = {"mode": "nearest", "full": 0.6, "truncated": 0.6}
    rows = [made_up(), made_up(truncated=0.68), made_up(**other), made_up(**other)]
    by = report.arms(rows)
    found = report.claimed(by)
    signs = {text.split(" (")[0]: (sample > 0).sum() for text, sample in found.items()}
    assert signs == {
        "wrong labels lie further out than right ones": 2,
        "training moves wrong labels outwards": 0,
        "training puts the right ones in front": 2,
        "truncation helps": 1,
        "truncation recovers the optimum": 0,
        "truncation is steadier than stopping": 2,
        "it helps less where noise is a rule": 1,
    }
    lines = report.claims(by)
    assert "withdrawn by its author" in lines[1]
    assert "DOES NOT HOLD" in next(line for line in lines if "recovers the" in line)
    assert "in 1 of 2 repeats" in next(line for line in lines if "helps (" in line)
    # (.74 - .69)/(.87 - .69)
    assert "recovers 28% of what the last epoch lost, and stays 0.130" in lines[-1]
    assert not report.claims(report.arms([made_up(rho=0.0)]))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"n_val": 0}, "`--n_val` must be at least 1"),
        ({"label_noise": ("flip", "flip")}, "`--label_noise` must be different"),
        ({"label_noise": ("flap",)}, "unknown --label_noise 'flap'"),
        ({"rho": (1.0,)}, "`--rho` must be shares in [0, 1)"),
        ({"contrast_rho": (-0.1,)}, "`--contrast_rho` must be shares"),
        ({"weight_decay": (-1.0,)}, "`--weight_decay` must not be negative"),
        ({"optimiser": "sgd"}, "`--weight_decay` must be 0 unless"),
        ({"snapshots": (13,)}, "`--snapshots` must be in 0 ... 12"),
        ({"depth": 1}, "`--depth` must be at least 2"),
        ({"n_train": 1190}, "must be at most"),
    ],
)
def test_bad_settings(settings, text):
    with raises(text):
        spectral_cells.check(tiny(**settings))


def test_presets():
    for preset in set(spectral_truncation.PRESETS) - {"mnist", "paper"}:
        config = spectral_truncation.EXPERIMENT.configure(preset)
        spectral_cells.check(config)
        for cell in spectral_cells.cells(config):
            assert 0 < spectral_cells.estimate(config, cell) < 60
