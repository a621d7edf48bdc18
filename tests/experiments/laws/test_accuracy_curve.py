"""The first experiment: its cells, its numbers, and what a kill leaves behind."""

import dataclasses
import json
import random
import signal
import subprocess
import sys
import time

import absl.flags
import jax
import numpy as np
import pytest
from closeness import raises

import theory
from experiments import accuracy_curve
from experiments.harness import endings, runner
from experiments.harness.run_directory import RunDirectory
from experiments.shared import corruptions, settings
from experiments.shared import routes as shared_routes
from theory.errors import InputError

LEVELS = (0.5, 0.9)
# One hidden layer and as many test images as training images: less to compile.
TINY = {
    "depth": 2,
    "n_train": 60,
    "n_test": 60,
    "p": LEVELS,
    "draws": 2,
    "inits": 2,
    "width": 16,
    "epochs": 3,
}


def tiny(**settings):
    return accuracy_curve.EXPERIMENT.configure("smoke", **{**TINY, **settings})


def command(workdir, *extra):
    flags = [
        f"--{name}={','.join(map(str, v)) if isinstance(v, tuple) else v}"
        for name, v in TINY.items()
    ]
    start = [sys.executable, "-m", "experiments.accuracy_curve", "--preset=smoke"]
    return [*start, f"--workdir={workdir}", *flags, *extra]


def without_timings(rows):
    return {
        row["key"]: {k: v for k, v in row.items() if k != "seconds"} for row in rows
    }


def read_rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").open()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    rows = runner.execute(accuracy_curve.EXPERIMENT, tiny(), workdir=workdir)
    return workdir, rows


def test_there_is_a_row_for_every_route_level_and_subset(finished):
    _, rows = finished
    asked = {(route, p) for route in tiny().routes for p in LEVELS}
    assert {(row["route"], row["p"]) for row in rows} == asked
    assert len(rows) == len(asked)


def test_rows_hold_what_the_routes_return(finished):
    _, rows = finished
    config = tiny()
    problem = settings.problem(config, 0)
    key = settings.corruption_key(config, 0)
    arch, noise = settings.architecture(config), settings.corruption(config, 0.9)
    draws = theory.exact(arch, noise, problem, draws=2, key=key)
    law = theory.first_order(arch, noise, problem)
    row = {row["route"]: row for row in rows if row["p"] == 0.9}
    labels = problem.labels_test
    np.testing.assert_allclose(
        row["exact"]["accuracies"]["inf"], draws.accuracies(labels)
    )
    np.testing.assert_allclose(
        row["exact"]["accuracies"]["1"], draws.accuracies(labels, 1), rtol=1e-6
    )
    assert row["first_order"]["accuracies"] == {
        "inf": [pytest.approx(law.accuracy(labels))]
    }
    law = theory.resummed(arch, noise, problem)
    assert row["resummed"]["accuracies"]["1"] == [
        pytest.approx(law.averaged(1).accuracy(labels))
    ]
    assert row["resummed"]["valid"] == law.diagnostics["valid"]
    rule = theory.class_mean_scores(problem).argmax(axis=1)
    assert row["exact"]["agreement"] == pytest.approx(
        float((draws.decisions() == rule[None, None, :]).mean())
    )
    assert set(row["network"]["accuracies"]) == {"1", "2"}


def test_the_arrays_hold_the_images_the_routes_saw(finished):
    workdir, rows = finished
    config = tiny()
    directory = RunDirectory(workdir)
    problem = settings.problem(config, 0)
    for row in rows:
        noise = settings.corruption(config, row["p"])
        seen = theory.corrupt(
            noise, settings.corruption_key(config, 0), 0, problem.x_train
        )
        kept = directory.arrays(row)["corrupted"]
        # noise between -2 and 2 is drawn in float32, and rounded by each program
        rounding = 4 * 2 * float(np.finfo(np.float32).eps)
        np.testing.assert_allclose(kept, seen[:2], rtol=0, atol=rounding)


def test_a_level_added_computes_that_level_only(finished, capsys):
    workdir, rows = finished
    before = {row["key"] for row in read_rows(workdir)}
    more = tiny(p=(0.5, 0.7, 0.9), routes=("first_order", "exact"))
    runner.execute(accuracy_curve.EXPERIMENT, more, workdir=workdir)
    assert "6 cells, 2 to compute" in capsys.readouterr().err
    added = [row for row in read_rows(workdir) if row["key"] not in before]
    assert {(row["route"], row["p"]) for row in added} == {
        ("first_order", 0.7),
        ("exact", 0.7),
    }
    assert len(read_rows(workdir)) == len(rows) + 2


EVERY = tuple(shared_routes.ROUTES)
TRAINED = {"tangent", "final", "network"}
SOLVED = {"linearised", "adam"}
MEMBERS = SOLVED | TRAINED


@pytest.mark.parametrize(
    ("change", "routes"),
    [
        ({"seed": 1}, set(EVERY)),
        ({"n_train": 70}, set(EVERY)),
        ({"n_test": 50}, set(EVERY)),
        ({"size": 9}, set(EVERY)),
        ({"dataset": "gaussian_prototypes"}, set(EVERY)),
        ({"normalise": "unit"}, set(EVERY)),
        ({"corruption": "additive"}, set(EVERY)),
        ({"noise": "normal"}, set(EVERY)),
        ({"activation": "relu"}, set(EVERY)),
        ({"depth": 3}, set(EVERY)),
        ({"w_var": 1.5}, set(EVERY)),
        ({"b_var": 0.1}, set(EVERY)),
        ({"rates": "standard"}, set(EVERY) - MEMBERS - {"online"}),
        ({"draws": 3}, {"exact", "lazy", *MEMBERS}),
        ({"inits": 1}, MEMBERS),
        ({"width": 17}, {"lazy", "resummed_lazy", "online", *MEMBERS}),
        ({"parametrisation": "ntk"}, {"online", *MEMBERS}),
        ({"biases": False}, {"online", *MEMBERS}),
        ({"loss": "cross_entropy"}, TRAINED),
        ({"optimiser": "sgd"}, {"online", *TRAINED}),
        ({"learning_rate": 0.01}, {"online", *TRAINED}),
        ({"batch_size": 20}, {"adam", "online", *TRAINED}),
        ({"epochs": 4}, {"online", *TRAINED}),
        ({"stop_loss": None}, TRAINED),
        ({"noise_regime": "fresh"}, TRAINED),
        ({"precision": "float32"}, TRAINED),
    ],
)
def test_a_setting_moves_the_cells_it_decides_and_no_other(change, routes):
    keys = lambda config: {c.key: c for c in shared_routes.cells(config)}
    old, new = keys(tiny(routes=EVERY)), keys(tiny(routes=EVERY, **change))
    assert {new[key].settings["route"] for key in new.keys() - old.keys()} == routes
    assert {old[key].settings["route"] for key in old.keys() - new.keys()} == routes


def test_rates_of_adam_know_widths_and_batches():
    def moved(**change):
        one, other = (
            shared_routes.cells(tiny(routes=EVERY, rates="adam", **each))
            for each in ({}, change)
        )
        keys = {cell.key for cell in one}
        return {cell.settings["route"] for cell in other if cell.key not in keys}

    kernels = set(EVERY) - MEMBERS
    for change in ({"width": 17}, {"biases": False}):
        assert moved(**change) == set(EVERY)
    assert moved(batch_size=20) == kernels | {"adam"} | TRAINED


def test_kernels_at_the_rates_of_adam():
    config = tiny(rates="adam", routes=("exact", "network"), p=(0.9,))
    found = {
        cell.settings["route"]: shared_routes.compute(config, cell)[0]
        for cell in shared_routes.cells(config)
    }
    problem, key = settings.problem(config, 0), settings.corruption_key(config, 0)
    noise = settings.corruption(config, 0.9)
    arch = settings.architecture(tiny())
    seen = theory.corrupt(noise, key, 0, problem.x_train)
    widths = (seen.shape[1], *[config.width] * (config.depth - 1))
    arch = theory.adam_rates(
        arch, widths, seen, problem.y, batch_size=config.batch_size
    )
    draws = theory.exact(arch, noise, problem, draws=config.draws, key=key)
    labels = problem.labels_test
    np.testing.assert_allclose(
        found["exact"]["accuracies"]["inf"], draws.accuracies(labels)
    )
    # networks are trained as they are, whatever rates kernels are taken at
    (cell,) = shared_routes.cells(tiny(routes=("network",), p=(0.9,)))
    (same,) = shared_routes.cells(dataclasses.replace(config, routes=("network",)))
    assert cell.key == same.key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimiser": "sgd"}, "`--rates` must not be adam but for --optimiser=adam"),
        ({"parametrisation": "ntk"}, "`--rates` must not be adam"),
        ({"rates": "adma"}, "unknown --rates 'adma': did you mean 'adam'"),
        (
            {"routes": ("resummed_lazy",), "p": (0.0, 0.5)},
            "`--routes` must be without resummed_lazy for --p=0",
        ),
    ],
)
def test_rates_and_widths_that_there_are_not(change, message):
    with raises(message):
        shared_routes.check(tiny(**{"rates": "adam", **change}))


def test_rates_of_adam_are_refused_where_no_route_is_asked_for():
    with raises("unknown --rates 'adam'"):
        settings.check(settings.Settings(rates="adam"), (0.5,))


def test_every_field_decides_a_cell_or_is_known_not_to():
    elsewhere = {
        "p",
        "routes",
        "subsets",
        "data_dir",
    }  # lists of cells; where files lie
    cells = shared_routes.cells(tiny(precision="float32"))
    cells += shared_routes.cells(tiny(architecture="conv"))  # dense has no word for it
    decided = {name for cell in cells for name in cell.settings} - {"route", "subset"}
    fields = {field.name for field in dataclasses.fields(accuracy_curve.AccuracyCurve)}
    assert fields - elsewhere == decided - elsewhere


def test_runs_from_before_there_was_a_precision_go_on():
    assert all("precision" not in cell.settings for cell in shared_routes.cells(tiny()))


def test_subsets_differ_and_share_the_test_images():
    one, two = (settings.problem(tiny(), subset) for subset in (0, 1))
    assert not np.array_equal(one.x_train, two.x_train)
    np.testing.assert_array_equal(one.x_test, two.x_test)
    keys = [jax.random.key_data(settings.corruption_key(tiny(), s)) for s in (0, 1)]
    assert not np.array_equal(keys[0], keys[1])


def test_noise_is_read_with_its_parameters():
    assert corruptions.parse_noise("uniform(-1, 1)") == theory.Uniform(-1.0, 1.0)
    assert corruptions.parse_noise("normal") == theory.Normal()
    for text, message in (
        ("gauss", "unknown --noise 'gauss'"),
        ("uniform(1,2,3)", "must be uniform or uniform"),
        ("uniform(a)", "must be uniform or uniform"),
        ("uniform(2,1)", "`low` of Uniform must be below `high`"),
    ):
        with pytest.raises(InputError, match=message):
            corruptions.parse_noise(text)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--p=0.5,1.2"], "`p` must be a corruption level in [0, 1], got 1.2"),
        (["--p=nan"], "p"),
        (["--activation=rleu"], "unknown activation 'rleu': did you mean 'relu'"),
        (["--activation=step"], "`--activation` must have a slope"),
        (["--dataset=digit"], "unknown data set 'digit': did you mean 'digits'"),
        (["--routes=exakt"], "unknown --routes 'exakt': did you mean 'exact'"),
        (["--n_train=5000"], "n_train"),
        (["--depth=0"], "`--depth` must be at least 1"),
        (["--dataset=mnist", "--data_dir=/nowhere"], "`data_dir` must be an existing"),
        (["--corruption=clipped_additive"], "ClippedAdditive needs pixels in [0, 1]"),
        (["--width=0"], "width"),
        (["--draws=0"], "`--draws` must be at least 1"),
        (["--widht=3"], "widht"),
    ],
)
def test_bad_input_ends_in_one_line_and_leaves_nothing(
    tmp_path, capsys, flags, message
):
    workdir, values = tmp_path / "run", absl.flags.FlagValues()
    runner.define_flags(accuracy_curve.EXPERIMENT, values)

    def run():  # what `_runner.main` does, in this process
        with endings.one_line_errors():
            given = [flag.partition("=")[0] for flag in flags]
            usual = command(workdir)[2:]
            usual = [flag for flag in usual if flag.partition("=")[0] not in given]
            values([*usual, *flags])
            config, options = runner.read_flags(accuracy_curve.EXPERIMENT, values)
            assert options.workdir is not None
            runner.execute(accuracy_curve.EXPERIMENT, config, workdir=options.workdir)

    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not workdir.exists()


# weekly: scripts by their name, and both kinds of errors, in test_runner.py
@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--p=0.5,1.2"], ["--widht=3"]])
def test_the_script_ends_in_one_line_too(tmp_path, flags):
    done = subprocess.run(
        command(tmp_path / "run", *flags), capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow  # kills at any moment: test_runner
def test_three_kills_leave_the_rows_of_an_uninterrupted_run(tmp_path):
    workdir, whole = tmp_path / "killed", tmp_path / "whole"
    # without the law, whose compilation is all that a kill would meet
    routes = ("first_order", "exact", "network")
    flag = f"--routes={','.join(routes)}"
    moments = random.Random(0)
    for count in (0, 2, 4):  # rows there are when it is killed
        process = subprocess.Popen(
            command(workdir, flag), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and len(RunDirectory(workdir).rows()) <= count:
            time.sleep(moments.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    # the same program: the tests' own may be compiled otherwise
    for folder in (workdir, whole):
        subprocess.run(command(folder, flag), check=True, capture_output=True)
    assert without_timings(read_rows(workdir)) == without_timings(read_rows(whole))
    assert (workdir / "figures" / "accuracy_curve.png").exists()


def test_a_route_that_cannot_take_the_corruption_is_refused_before_it_runs(tmp_path):
    config = tiny(corruption="clipped_additive", normalise="unit", p=(0.3,))
    with raises("`--routes` must be without first_order for --corruption=clipped"):
        runner.execute(accuracy_curve.EXPERIMENT, config, workdir=tmp_path / "never")
    assert not (tmp_path / "never").exists()
