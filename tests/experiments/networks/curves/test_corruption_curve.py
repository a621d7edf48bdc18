"""Networks over corruption and size: curves and margins, from end to end."""

import functools
import json

import numpy as np
import pytest
from checkout import ROOT
from closeness import raises

import theory
from experiments import corruption_curve, margins
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.networks.curves import corruption_curve as curve_corruption_curve
from experiments.networks.curves import curve_report, size_verdicts
from experiments.networks.curves.curve_report import _proxies, _published, proxies
from experiments.networks.inside.margins import check, table
from experiments.shared import intervals, reference, settings, trained
from experiments.shared import trained as _networks

# Of float32 means and of the sums of a law, by their largest term.
F32, F64 = 4 * float(np.finfo(np.float32).eps), 64 * float(np.finfo(float).eps)
REFERENCE = ROOT / "experiments" / "reference"
TINY: dict = {"n_test": 60, "width": 12, "epochs": 4, "learning_rate": 0.01}


def curve(**settings):
    return corruption_curve.EXPERIMENT.configure("smoke", **{**TINY, **settings})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("curve")
    rows = runner.execute(corruption_curve.EXPERIMENT, curve(), workdir=workdir)
    return workdir, rows


def test_every_size_and_level_is_run(run):
    _, rows = run
    asked = {(n, p) for n in (60, 120) for p in (0.2, 0.6, 0.9, 1.0)}
    assert {(row["n_train"], row["p"]) for row in rows} == asked
    for row in rows:
        for name in ("clean", "same", "train_loss", "alive", "z"):
            assert len(row[name]) == 2
        assert row["clean"][0] != row["clean"][1] or row["z"][0] != row["z"][1]
    by = {(row["n_train"], row["p"]): row for row in rows}
    # pure noise: networks of one repeat differ in the images alone
    assert np.mean(by[120, 0.2]["clean"]) > np.mean(by[120, 1.0]["clean"])


def test_table_and_figure(run):
    workdir, rows = run
    text = curve_report.table(RunDirectory(workdir), rows)
    for part in ("clean test images", "same test images", "p*, slope", "alive"):
        assert part in text
    assert "largest less smallest: p*" in text
    for name in proxies([row for row in rows if row["p"] < 1]):
        assert name in text
    assert (workdir / "figures" / "corruption_curve.png").stat().st_size > 10_000


def made_up(size, midpoint, scale, sweep="width"):
    """Rows of a size: a sigmoid about the midpoint, a margin of scale (1 - p)/p."""
    rows = []
    for p in (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0):
        fall = 0.1 + 0.8 / (1 + np.exp((p - midpoint) / (0.05 + 0.1 / size)))
        z = [None] * 2 if p == 0 else [scale * (1 - p) / p, scale * (1 - p) / p + 0.01]
        curves = {"same": [fall, fall + 0.001], "clean": [fall, fall + 0.001], "z": z}
        rows.append({"sweep": sweep, sweep: size, "p": p, **curves})
    return rows


def test_the_crossover_beside_the_midpoint():
    sizes = {2: made_up(2, 0.4, 0.5), 8: made_up(8, 0.6, 2.0)}
    of = functools.partial(curve_report.statistics, chance=0.1)
    p = intervals.levels(sizes[2])
    z = intervals.repeats(sizes[8], "z")[0]
    # by hand, between .6 and .8: 4/3 and 1/2
    by_hand = 0.6 + 0.2 * (4 / 3 - 1) / (4 / 3 - 0.5)
    assert size_verdicts.crossover(p)(np.nan_to_num(z)) == pytest.approx(by_hand)
    text = size_verdicts.lines(sizes, of)
    assert text[3].split()[1] == f"{by_hand + 0.2 * 0.005 * 1.2:.3f}"
    found = {each.what: each for each in size_verdicts.expected(sizes, of)}
    assert [each.holds for each in found.values()] == [True] * 3
    shift = found["width: p* shifts to the side of the crossover"]
    np.testing.assert_allclose(shift.own, 0.2, atol=1e-3)
    assert all(each.source != "-" for each in found.values())
    # the other way round p* rises where the margin falls earlier
    sizes = {2: made_up(2, 0.4, 2.0), 8: made_up(8, 0.6, 0.5)}
    last = size_verdicts.expected(sizes, of)[-1]
    assert not last.holds
    assert (
        "depth"
        in size_verdicts.expected({n: made_up(n, 0.5, n, "depth") for n in (2, 3)}, of)[
            0
        ].what
    )
    assert not size_verdicts.expected({2: sizes[2]}, of)


def test_closed_form_signal_to_noise(run):
    _, rows = run
    by = {(row["n_train"], row["p"]): row["ln_snr"] for row in rows}
    # nothing is left of the image
    assert by[60, 1.0] is by[120, 1.0] is None
    config, cell = curve(), curve_corruption_curve.cells(curve())[1]
    config = settings.settled(config, cell)
    problem = settings.problem(config, 0)
    law = theory.first_order(
        settings.architecture(config), theory.Replacement(
            p=0.6, noise=theory.Uniform(-1.0, 1.0)
        ), problem,
    )  # fmt: skip
    c, labels = problem.num_classes, np.asarray(problem.labels_test)
    a = np.full((len(labels), c), -1 / (c - 1))
    a[np.arange(len(labels)), labels] = 1
    terms = a * np.asarray(law.mean)
    signal = terms.sum(axis=1) ** 2
    noise = np.einsum("ni,nij,nj->n", a, np.asarray(law.cov), a)
    # a logarithm errs as its argument does, a square twice as much as its root
    rounding = 1 + 2 * np.abs(terms).sum(axis=1) / np.sqrt(signal)
    expected, atol = np.log(signal / noise).mean(), F64 * rounding.mean()
    np.testing.assert_allclose(by[60, 0.6], expected, rtol=0, atol=atol)
    assert proxies([{**rows[0], "ln_snr": None}])[
        "ln SNR of the first order"
    ].tolist() == pytest.approx([np.nan], nan_ok=True)


def test_a_width_of_noise_is_no_level():
    row = {"corruption": "clipped_additive", "n_train": 60}
    rows = [
        {**row, "p": 2.0, "clean": [0.8], "z": [0.0]},
        {**row, "p": 1.0, "clean": [0.9], "z": [1.0]},
    ]
    assert set(proxies(rows)) == {
        "median margin over its deviation",
        "ln SNR of the first order",
    }
    said = _proxies({60: rows, 120: rows}, "n_train")
    assert len(said) == 3  # both widths count, and the law knows none
    assert said[-1].endswith("0.000 | 0.00")


def test_published_curve_stands_beside_ours(run):
    _, rows = run
    setting = json.loads((REFERENCE / "corruption_curve.json").read_text())["setting"]
    full = [{**rows[0], **setting, "p": 0.9, "clean": [0.7, 0.74]}]
    lines = reference.report("corruption_curve", full, _published)
    assert lines[-1].endswith("0.725  0.720  tolerance 0.04: within")
    assert reference.report("corruption_curve", rows, _published) == []


def test_the_same_images_are_seen_at_every_size():
    config = curve(samples=960)
    of = {n: trained.epochs(each) for n, each in zip(
        config.sizes, curve_corruption_curve._each(config), strict=True
    )}  # fmt: skip
    assert of == {60: 16, 120: 8}
    assert trained.epochs(curve(samples=1)) == 1
    cells = curve_corruption_curve.cells(config)
    assert all("epochs" not in cell.settings for cell in cells)
    assert {cell.settings["samples"] for cell in cells} == {960}


def test_repeats_until_sure(run, monkeypatch):
    # networks of these accuracies: standard errors .1, .058, .05 of two, three, four
    seen = (0.5, 0.7, 0.6, 0.7)
    trained = lambda config, p, repeat, _: (settings.problem(config, repeat), repeat)
    monkeypatch.setattr(_networks, "train", trained)
    monkeypatch.setattr(_networks, "_of_repeat", lambda at, _: {"clean": seen[at]})
    for stderr, repeats in ((0.9, 2), (0.08, 3), (1e-9, 4)):
        config = curve(most_repeats=4, stderr=stderr)
        # pure noise: the law is not asked
        cell = next(
            c for c in curve_corruption_curve.cells(config) if c.settings["p"] == 1
        )
        row, arrays = curve_corruption_curve.compute(config, cell)
        assert row["clean"] == list(seen[:repeats])
        assert len(arrays["clean"]) == repeats
    workdir, rows = run
    uneven = [
        {**rows[0], **{k: [*rows[0][k], 0.3] for k in ("clean", "same", "alive", "z")}},
        *rows[1:],
    ]
    assert intervals.repeats(uneven[:2], "clean").shape == (2, 2)
    text = curve_report.table(RunDirectory(workdir), uneven)
    assert "largest less smallest: p*" in text


@pytest.mark.parametrize("sweep", ["width", "depth", "batch_size"])
def test_other_sweeps_reach_the_cells(sweep):
    config = curve(sweep=sweep, sizes=(2, 3), n_train=60)
    cells = curve_corruption_curve.cells(config)
    assert [cell.settings[sweep] for cell in cells[::4]] == [2, 3]
    assert {cell.settings["n_train"] for cell in cells} == {60}
    for preset in corruption_curve.PRESETS:
        if preset != "paper":  # data of another folder
            curve_corruption_curve.check(corruption_curve.EXPERIMENT.configure(preset))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"sweep": "lr"}, "unknown --sweep 'lr'"),
        ({"sizes": (120, 60)}, "`--sizes` must be rising"),
        ({"p": (0.1, 0.2)}, "`--p` must be at least 4 levels"),
        ({"p": (0.1, 0.1, 0.2, 0.3)}, "`--p` must be different levels"),
        ({"repeats": 0}, "`--repeats` must be at least 1"),
        (
            {"most_repeats": 1, "stderr": 0.1},
            "`--most_repeats` must be at least --repeats, 2",
        ),
        ({"stderr": 0.0}, "`--stderr` must be positive"),
        ({"stderr": 0.1, "repeats": 1}, "`--stderr` needs at least 2 --repeats"),
        ({"samples": 0}, "`--samples` must be at least 1"),
    ],
)
def test_bad_settings(settings, text):
    with raises(text):
        curve_corruption_curve.check(curve(**settings))


def test_margins(tmp_path):
    config = margins.EXPERIMENT.configure(
        "smoke", **{**TINY, "epochs": 40, "curvature": 1, "corruptions": 2}
    )
    rows = runner.execute(margins.EXPERIMENT, config, workdir=tmp_path)
    assert [row["p"] for row in rows] == [0.2, 0.8]
    directory = RunDirectory(tmp_path)
    for row in rows:
        arrays = directory.arrays(row)
        assert arrays["margin"].shape == (2, 60)
        assert set(np.unique(arrays["failure"])) <= {0.0, 0.5, 1.0}
        failed = [verdict["failed"] for verdict in row["scores"]["mid"]]
        shares = arrays["failure"].mean(axis=1, dtype=float)
        np.testing.assert_allclose(failed, shares, rtol=F32)
        assert set(row["scores"]) == {"seed", "shift", "mid", "margin", "curved"}
    least, most = (row["scores"]["mid"][0]["failed"] for row in rows)
    assert most > least
    text = table(directory, rows)
    assert "falls to 1 at p" in text
    assert (tmp_path / "figures" / "margins.png").stat().st_size > 10_000
    for changed, said in (
        ({"images": 3}, "`--images` must be at least 10"),
        ({"corruptions": 0}, "`--corruptions` must be at least 1"),
    ):
        with raises(said):
            check(margins.EXPERIMENT.configure("smoke", **changed))
