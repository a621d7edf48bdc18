"""Label noise on clusters, from end to end; its verdicts on made-up rows."""

import dataclasses

import jax
import numpy as np
import pytest
from closeness import raises

from experiments import cluster_noise
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.wrong_labels.clusters import (
    cells,
    checks,
    figure,
    report,
    settings,
    trajectories,
    verdicts,
)
from experiments.wrong_labels.clusters import settings as cluster_settings
from theory.activations import registry

PARTS = ("training", "distance", "duplicates", "ridge", "covariance")
EPS = 64 * float(np.finfo(np.float32).eps)  # of sums of forty terms, in any order


def tiny(**settings):
    # as many fresh points as training points: their programs are the same
    return cluster_noise.EXPERIMENT.configure("smoke", **{"n_test": 40, **settings})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("cluster_noise")
    # parts `bounds` and `radius` compile for seconds: see the slow test
    config = tiny(widths=(), parts=PARTS)
    return workdir, runner.execute(cluster_noise.EXPERIMENT, config, workdir=workdir)


# weekly: a whole run; what it is made of is tested always
@pytest.mark.slow
def test_everything_is_run_and_told(run):
    workdir, rows = run
    parts = [row["part"] for row in rows]
    assert [parts.count(part) for part in PARTS] == [2, 2, 1, 1, 1]
    directory = RunDirectory(workdir)
    text = report.table(directory, rows)
    for part in ("law of gradient flow", "Jacobian", "theorem 2.2", "flipped, at 40"):
        assert part in text
    assert "verdict" in text
    assert (workdir / "figures" / "cluster_noise.png").stat().st_size > 10_000
    first = rows[0]
    arrays = directory.arrays(first)
    assert arrays["network_noisy"].shape == (2, len(arrays["steps"]))
    assert {0, 10, 60} <= set(arrays["steps"])
    # all start as the network does
    for route in ("limit", "start"):
        np.testing.assert_allclose(
            arrays[f"{route}_loss"][:, 0], arrays["network_loss"][:, 0], rtol=EPS
        )
    assert (arrays["network_loss"][:, -1] < 0.3 * arrays["network_loss"][:, 0]).all()
    # duplicates learn means and nothing else; bounds are below what they bound
    (exact,) = (row for row in rows if row["part"] == "duplicates")
    assert max(exact["from_mean"]) < 1e-6
    assert max(exact["drift"]) < 1e-10
    for row in rows:
        if row["part"] == "distance":
            assert np.all(np.array(row["late_bound"]) <= row["late_distance"])


@pytest.mark.slow
def test_a_part_alone_can_be_told(run):
    workdir, rows = run
    for part in PARTS:
        some = [row for row in rows if row["part"] == part]
        text = report.table(RunDirectory(workdir), some)
        # a ridge is held against the best time to stop
        assert ("verdict" in text) == (part != "ridge")
        assert figure.figure(RunDirectory(workdir), some).axes


def test_repeats_are_their_own_and_widths_share_points():
    config = tiny()
    sets = [
        cluster_settings.points(config, k, eps0=0.5, mode="uniform", share=0.3)
        for k in (0, 1, 0)
    ]
    (one, noisy, test, _), (two, other, *_), (same, *_) = sets
    np.testing.assert_array_equal(one.x, same.x)
    assert not np.isin(np.asarray(one.x), np.asarray(two.x)).any()
    assert (np.asarray(noisy.flipped) != np.asarray(other.flipped)).any()
    assert not np.isin(np.asarray(test.x), np.asarray(one.x)).any()
    np.testing.assert_array_equal(one.centres, test.centres)


def test_measures_of_a_path():
    config = tiny()
    train, noisy, test, key = cluster_settings.points(
        config, 0, eps0=0.5, mode="flip", share=0.3
    )
    (net,) = cluster_settings.networks(config, "relu", config.width, [key])
    (path,), rates = cluster_settings.train([net], [(train, noisy, test)], (0, 5))
    w, a, x = (np.asarray(part, float) for part in (net.w, net.a, train.x))
    slopes = (x @ w.T > 0) * a
    top = np.linalg.eigvalsh((x @ x.T) * (slopes @ slopes.T))[-1]
    np.testing.assert_allclose(rates, 1 / top, rtol=EPS)
    found = cluster_settings.curves(path, train, noisy, test)
    f, g = (np.asarray(part)[-1] for part in (path.outputs, path.test_outputs))
    labels = np.asarray(noisy.labels)
    # |f| and |f - 1| of an output near one half may round to a tie
    tied = np.mean(np.abs(np.concatenate([f, g]) - 0.5) < EPS)
    for name, outputs, of in (
        ("noisy", f, labels),
        ("truth", f, np.asarray(train.labels)),
        ("test", g, np.asarray(test.labels)),
    ):
        wrong = np.mean((outputs > 0.5) != of)
        assert found[name][-1] == pytest.approx(wrong, abs=3 * tied + 1e-6), name
    assert found["loss"][-1] == pytest.approx(((f - labels) ** 2).sum() / 2, rel=EPS)
    moved = np.asarray(path.w)[-1] - np.asarray(net.w)
    assert found["distance"][-1] == pytest.approx(np.linalg.norm(moved), rel=EPS)


def test_common_area_of_losses():
    flipped = np.array([True, True, False, False])
    overlap = lambda *losses: trajectories.overlap(np.array(losses), flipped)
    assert overlap(0.5, 0.52, 0.01, 0.0) == 0
    assert overlap(0.5, 0.001, 0.002, 0.0) == 0.5
    assert np.isnan(trajectories.overlap(np.ones(4), np.zeros(4, bool)))
    assert overlap(0.7, 3.0, 0.6, 0.599) == 1  # the last bin is without end


def test_recorded_iterations():
    found = cluster_settings.recorded(4500, 80)
    assert (found[0], found[1], found[-1]) == (0, 1, 4500)
    assert 80 in found
    assert 30 < len(found) < 40
    assert (np.diff(found) > 0).all()


def test_quadrature_and_monte_carlo_of_the_covariance():
    r = np.array([[1.0, 0.3], [0.3, 1.0]])
    relu, erf = (registry.get(name).fn for name in ("relu", "erf"))
    both = checks._quadrature(relu, r)
    np.testing.assert_allclose(both[0, 1], (np.pi - np.arccos(0.3)) / 2 / np.pi)
    both = checks._quadrature(erf, r)
    # sums over 256 nodes each way
    rtol = 256 * np.finfo(float).eps
    np.testing.assert_allclose(both, 4 / np.pi / np.sqrt(9 - 4 * r**2), rtol=rtol)
    centres = np.linalg.cholesky(r)
    rng = np.random.default_rng(0)
    mean, error = checks._monte_carlo(erf, centres, 200_000, rng)
    assert (np.abs(mean - both) < 5 * error).all()
    # of a slope of one half the times: 1/2 sqrt(1/n)
    _, error = checks._monte_carlo(relu, centres, 200_000, rng)
    np.testing.assert_allclose(error[0, 0], 0.5 / 200_000**0.5, rtol=0.01)


def holds(lines):
    return [line.holds for line in lines]


def trajectory(**changes):
    """A run of two repeats that overfits as expected, but for the changes."""
    row = {
        "activation": "relu", "early": 80, "late": 4500, "flipped": [0.15, 0.16],
        "early_auc": [0.99, 1.0], "early_overlap": [0.04, 0.02],
        "late_overlap": [0.2, 0.1],
    }  # fmt: skip
    arrays = {
        "steps": np.array([0, 80, 4500]),
        "network_noisy": np.array([[0.5, 0.15, 0.0], [0.5, 0.16, 0.0]]),
        "network_truth": np.array([[0.5, 0.01, 0.15], [0.5, 0.02, 0.16]]),
        "network_distance": np.array([[0.0, 4.0, 24.0], [0.0, 5.0, 25.0]]),
    }
    for name, value in changes.items():
        (row if name in row else arrays)[name] = np.array(value)
    return verdicts.trajectory(row, arrays)


def test_verdicts_of_trajectories():
    assert holds(trajectory()) == [True] * 8
    for index, change in (
        (0, {"network_noisy": [[0.5, 0.1, 0.0]] * 2}),
        (1, {"network_truth": [[0.5, 0.04, 0.15]] * 2}),
        (2, {"early_auc": [0.97, 0.98]}),
        (3, {"early_overlap": [0.11, 0.10], "late_overlap": [0.5, 0.5]}),
        (4, {"network_noisy": [[0.5, 0.15, 0.02], [0.5, 0.16, 0.01]]}),
        (5, {"network_truth": [[0.5, 0.01, 0.1]] * 2}),
        (6, {"late_overlap": [0.08, 0.05]}),
        (7, {"network_distance": [[0.0, 7.0, 24.0]] * 2}),
    ):
        found = holds(trajectory(**change))
        assert found == [k != index for k in range(8)], change


def test_verdicts_of_the_law():
    rows, arrays = [], {}
    for width, apart in ((100, 0.04), (400, 0.02), (1600, 0.01)):
        rows.append({"key": str(width), "width": width, "early": 1, "late": 2})
        arrays[str(width)] = {"steps": np.arange(3)} | {
            f"{route}_{curve}": np.ones((2, 3)) + (route == "limit") * 0.001
            for route in ("network", "limit")
            for curve in ("loss", "truth", "test")
        }
        arrays[str(width)]["limit_rms"] = apart * np.ones((2, 3))
    lines = verdicts.law(rows, arrays)
    assert holds(lines) == [True] * 8
    assert np.mean(lines[-1].own) == pytest.approx(-0.5)
    arrays["1600"]["limit_loss"] = 1.1 * np.ones((2, 3))
    arrays["1600"]["limit_rms"] = 0.1 * np.ones((2, 3))
    assert holds(verdicts.law(rows, arrays)) == [
        False, True, True, False, True, True, False, False,
    ]  # fmt: skip


def test_verdicts_of_spectra_distances_and_ridges():
    row = {"radius": 0.5, "start_gap": [4.5, 5.0], "start_above": [20, 30],
           "end_above": [21, 31], "clean_energy": [0.8, 0.9],
           "noise_energy": [0.1, 0.2]}  # fmt: skip
    near = row | {"radius": 0.1, "start_above": [2, 2]}
    assert holds(verdicts.spectra([near, row])) == [True] * 5
    near["start_above"] = [2, 3]
    row = row | {"start_gap": [3.0, 4.5], "clean_energy": [0.5, 0.5]}
    found = holds(verdicts.spectra([row, near]))
    assert found == [False, True, False, False, True]
    rows = [
        {"flip": flip, "early": 80, "flip_late": 3000, "early_distance": [4.0, 4.0],
         "late_distance": [late, late], "early_bound": [3.0, 3.9],
         "late_bound": [5.0, 6.0]}
        for flip, late in ((0.0, 8.0), (0.3, 24.0))
    ]  # fmt: skip
    assert holds(verdicts.distances(rows)) == [True] * 3
    rows[1]["early_distance"] = [6.0, 6.0]
    rows[0]["late_bound"] = [9.0, 9.0]
    assert holds(verdicts.distances(rows)) == [False, True, False]
    arrays = {"network_test": np.array([[0.5, 0.01, 0.05], [0.5, 0.03, 0.02]])}
    some = [{"network_test": [0.02, 0.2]}, {"network_test": [0.2, 0.03]}]
    (line,) = verdicts.ridges(some, {}, arrays)
    np.testing.assert_allclose(line.own, [0.01, 0.01])
    assert line.holds


def test_clusters_and_classes():
    config = tiny(clusters=5, classes=3, n=40, d=6)
    model = settings.model_of(config, 0.1)
    assert model.classes == (0, 1, 2, 0, 1)
    assert model.alphas == (-1, 0, 1)
    assert settings.model_of(tiny(), 0.1).alphas == (0, 1)
    train, noisy, test, _ = cluster_settings.points(
        config, 0, eps0=0.1, mode="flip", share=0.25
    )
    assert np.bincount(train.cluster).tolist() == [8] * 5
    np.testing.assert_array_equal(noisy.shares, 0.25)
    np.testing.assert_array_equal(train.centres, test.centres)
    (cell, *_) = cells.cells(config)
    assert (cell.settings["clusters"], cell.settings["classes"]) == (5, 3)
    assert "clusters" not in cells.cells(tiny())[0].settings  # as in older runs


def test_cells_hold_what_decides_them():
    config = tiny()
    keys = lambda config: {cell.key for cell in cells.cells(config)}
    base = keys(config)
    assert len(base) == 8 + 2 + 2
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        double = 2 * value if isinstance(value, int | float) else value
        other = {
            "parts": ("training",), "points": "ball", "activations": ("tanh",),
            "widths": (4, 20), "radii": (0.2,), "flips": (0.1,), "ridges": (2.0,),
            "covariances": ("erf",), "data_dir": None, "learned": (0.4,),
            "learned_activations": ("relu",),
        }.get(field.name, double)  # fmt: skip
        other = 3 if field.name == "seed" else other
        changed = keys(dataclasses.replace(config, **{field.name: other}))
        assert (changed != base) == (field.name != "data_dir"), field.name


def test_the_cell_decides(monkeypatch):
    seen = {}
    for part in cells._COMPUTE:
        spy = lambda config, settings, part=part: (seen.update({part: config}), {})
        monkeypatch.setitem(cells._COMPUTE, part, spy)
    other = tiny(repeats=7, n=99, width=2, late=999, flip_width=2, share=0.9, eps0=0.2)
    for cell in cells.cells(tiny(activations=("erf",))):
        cells.compute(other, cell)
        if cell.settings["part"] != "covariance":
            config = seen[cell.settings["part"]]
            n = 12 if cell.settings["part"] == "radius" else 40
            assert (config.repeats, config.n) == (2, n)
            assert config.activations == ("erf",)
    assert seen["training"].late == seen["ridge"].late == 60
    assert seen["training"].share == 0.3
    assert seen["distance"].flip_width == 20
    assert seen["distance"].eps0 == seen["ridge"].eps0 == 0.5


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"parts": ("images",)}, "unknown --parts 'images'"),
        ({"late": 10}, "`--late` must be after --early, 10, got 10"),
        ({"width": 3}, "must be even and positive, got 3"),
        ({"activations": ()}, "`--activations` must name one"),
        ({"activations": ("step",)}, "must have slopes, got step"),
        ({"flips": (1.0,)}, "`--flips` must be in [0, 1), got 1.0"),
        ({"share": 0.0}, "`--share` must be in (0, 1], got 0.0"),
        ({"ridges": (0.0,)}, "`--ridges` must be positive"),
        ({"samples": 10}, "`--samples` must be at least 100000"),
        ({"classes": 3}, "`--classes` must be at most --clusters, 2, got 3"),
        ({"clusters": 50}, "`n` must be at least one point for each of 50 clusters"),
        ({"learned": (0.0,)}, "`--learned` must be in (0, 1), got 0.0"),
        ({"learned_activations": ("step",)}, "must have slopes, got step"),
    ],
)
def test_bad_settings(settings, text):
    with raises(text):
        cells.check(tiny(**settings))


def test_float64_is_needed():
    jax.config.update("jax_enable_x64", False)
    try:
        with raises("`--x64` must be on"):
            cells.check(tiny())
    finally:
        jax.config.update("jax_enable_x64", True)


def test_presets():
    for preset in cluster_noise.PRESETS:
        config = cluster_noise.EXPERIMENT.configure(preset)
        cells.check(config)
        seconds = [cells.estimate(config, cell) for cell in cells.cells(config)]
        assert min(seconds) > 0
        if preset == "cpu":
            assert sum(seconds) < 900
