"""Architectures and their class means: rows, the order before and after, the report."""

import dataclasses

import numpy as np
import pytest
from closeness import raises

import theory
from experiments.architectures import EXPERIMENT
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.laws import (
    architecture_figure,
    architecture_report,
    architecture_settings,
    architectures,
)
from experiments.shared import settings as shared_settings
from experiments.shared import stacks
from ntk_corrupt.ensembles import ensemble

SOME = ("dense", "global")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Rows, what was printed before the first kernel and network, and where."""
    config = EXPERIMENT.configure("smoke", architectures=SOME, p=(0.3, 0.9))
    workdir, said = tmp_path_factory.mktemp("architectures"), []
    architectures._announce.cache_clear()
    solved, trained = stacks.architectures.gram, architectures.ensemble.measure

    def gram(*args):
        said.append("kernel")
        return solved(*args)

    def measure(*args, **settings):
        said.append("network")
        return trained(*args, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *text, **_: said.append(str(text[0])))
        patch.setattr(stacks.architectures, "gram", gram)
        patch.setattr(architectures.ensemble, "measure", measure)
        rows = runner.execute(EXPERIMENT, config, workdir=workdir)
    return config, rows, said, RunDirectory(workdir)


def kernels(rows, name, stage="kernel"):
    return [r for r in rows if (r["stage"], r["architecture"]) == (stage, name)]


def test_rows_of_a_dense_stack_are_those_of_the_exact_route(run):
    config, rows, *_ = run
    arch = theory.Architecture(depth=3, activation="erf")
    problem = shared_settings.problem(config, 0)
    key = shared_settings.corruption_key(config, 0)
    labels, y = np.asarray(problem.labels_test), np.asarray(problem.labels_train)
    for row in kernels(rows, "dense"):
        noise = shared_settings.corruption(config, row["p"])
        exact = theory.exact(
            arch, noise, problem, draws=config.draws, key=key, with_init_var=False
        )
        decided = np.asarray(exact.outputs[:, 0].argmax(axis=-1))
        assert row["accuracy"] == pytest.approx((decided == labels).mean(axis=1))
        for draw in range(config.draws):
            x = np.asarray(theory.corrupt(noise, key, draw, problem.x_train))
            means = np.array([x[y == label].mean(axis=0) for label in range(10)])
            rule = (problem.x_test @ (means - means.mean(axis=0)).T).argmax(axis=1)
            assert row["plain"][draw] == pytest.approx((rule == labels).mean())
            alike = (decided[draw] == np.asarray(rule)).mean()
            assert row["alike_plain"][draw] == pytest.approx(alike)


def test_rows_of_pooled_layers_are_those_of_their_metric(run):
    config, rows, _, directory = run
    (metric,) = (
        r for r in rows if (r["stage"], r["architecture"]) == ("metric", "global")
    )
    arrays = directory.arrays(metric)
    weight, values = arrays["weight"], arrays["values"]
    np.testing.assert_allclose(np.trace(weight), 64)
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(
        arrays["directions"] @ weight,
        values[: len(arrays["directions"]), None] * arrays["directions"],
        atol=1e-10,
    )
    assert len(metric["ranks"]) == architecture_settings.PARTS
    problem = shared_settings.problem(config, 0)
    key = shared_settings.corruption_key(config, 0)
    y, labels = np.asarray(problem.labels_train), np.asarray(problem.labels_test)

    def rule(x, weight=weight):
        means = np.array([x[y == label].mean(axis=0) for label in range(10)])
        centred = (means - means.mean(axis=0)) @ weight
        return np.asarray(problem.x_test @ centred.T).argmax(axis=1)

    clean = rule(np.asarray(problem.x_train))
    assert (clean != rule(np.asarray(problem.x_train), np.eye(64))).any()
    assert metric["clean"] == pytest.approx((clean == labels).mean())
    for row in kernels(rows, "global"):
        noise = shared_settings.corruption(config, row["p"])
        decided = directory.arrays(row)["decisions"]
        for draw in range(config.draws):
            x = np.asarray(theory.corrupt(noise, key, draw, problem.x_train))
            own, plain = rule(x), rule(x, np.eye(64))
            assert (own != plain).any()
            assert row["plain"][draw] == pytest.approx((plain == labels).mean())
            alike = (plain == decided[draw]).mean()
            assert row["alike_plain"][draw] == pytest.approx(alike)
            assert row["weighted"][draw] == pytest.approx((own == labels).mean())
            assert row["alike"][draw] == pytest.approx((own == decided[draw]).mean())
            alike = (clean == decided[draw]).mean()
            assert row["alike_clean"][draw] == pytest.approx(alike)
            accuracy = (decided[draw] == labels).mean()
            assert row["accuracy"][draw] == pytest.approx(accuracy)


def test_rows_of_networks_are_those_of_the_perceptron(run):
    # a dense stack is one: the same networks by another module
    config, rows, _, directory = run
    problem = shared_settings.problem(config, 0)
    key = shared_settings.corruption_key(config, 0)
    y, labels = np.asarray(problem.labels_train), np.asarray(problem.labels_test)
    arch = theory.Architecture(depth=3, activation="erf")
    (row,) = (r for r in kernels(rows, "dense", "network") if r["p"] == 0.9)
    noise = shared_settings.corruption(config, 0.9)
    nets = ensemble.measure(
        arch,
        noise,
        problem,
        width=config.width,
        draws=config.draws,
        inits=config.inits,
        key=key,
        config=shared_settings.training(config),
    )
    outputs = np.asarray(nets.outputs)
    decided = directory.arrays(row)["decisions"]
    # but for what rounding decides
    assert (decided == outputs.argmax(axis=-1)).mean() > 0.95
    np.testing.assert_allclose(
        row["train_loss"], nets.diagnostics["train_loss"].mean(axis=1), rtol=1e-3
    )
    assert row["trained"] == [config.epochs] * config.draws
    of_mean = outputs.mean(axis=1).argmax(axis=-1)
    for draw in range(config.draws):
        x = np.asarray(theory.corrupt(noise, key, draw, problem.x_train))
        means = np.array([x[y == label].mean(axis=0) for label in range(10)])
        rule = np.asarray(problem.x_test @ (means - means.mean(axis=0)).T)
        one, rule = decided[draw], rule.argmax(axis=1)
        assert row["accuracy"][draw] == pytest.approx((one == labels).mean())
        assert row["alike_plain"][draw] == pytest.approx((one == rule).mean())
        for column, of in (("mean_accuracy", labels), ("mean_alike_plain", rule)):
            found = (of_mean[draw] == of).mean()
            assert row[column][draw] == pytest.approx(found, abs=2 / len(labels))


def test_networks_are_compared_with_the_class_mean_in_their_metric(run):
    config, rows, _, directory = run
    weights = {
        r["architecture"]: directory.arrays(r)["weight"]
        for r in rows
        if r["stage"] == "metric"
    }
    problem = shared_settings.problem(config, 0)
    key, y = shared_settings.corruption_key(config, 0), np.asarray(problem.labels_train)
    (row,) = (r for r in kernels(rows, "global", "network") if r["p"] == 0.3)
    noise = shared_settings.corruption(config, 0.3)
    for draw, decided in enumerate(directory.arrays(row)["decisions"]):
        x = np.asarray(theory.corrupt(noise, key, draw, problem.x_train))
        means = np.array([x[y == label].mean(axis=0) for label in range(10)])
        centred = (means - means.mean(axis=0)) @ weights["global"]
        rule = np.asarray(problem.x_test @ centred.T).argmax(axis=1)
        assert row["alike"][draw] == pytest.approx((decided == rule).mean())
    # the class means are those that the kernels stand beside
    (kernel,) = (r for r in kernels(rows, "global") if r["p"] == 0.3)
    assert row["weighted"] == kernel["weighted"]
    assert row["plain"] == kernel["plain"]


def test_the_order_is_said_once_and_before_any_kernel(run):
    config, rows, said, _ = run
    at = {
        name: next(r for r in kernels(rows, name) if r["p"] == 0.9)["weighted"]
        for name in SOME
    }
    expected = (
        "predicted before any kernel or network, p = 0.9, class mean in W: "
        f"{architectures.in_order(at)}"
    )
    assert said.count(expected) == 1
    assert said.count("kernel") == len(SOME) * 2 * config.draws
    assert said.count("network") == len(SOME) * 2
    assert said.index(expected) < said.index("kernel") < said.index("network")
    assert sum("before any kernel" in text for text in said) == 1


def test_the_order_is_said_before_networks_alone(tmp_path, monkeypatch):
    config = EXPERIMENT.configure("smoke", architectures=("dense",), p=(0.9,))
    (*_, network) = architectures.cells(config)
    said = []
    monkeypatch.setattr("builtins.print", lambda *text, **_: said.append(text[0]))

    def measure(*_, **__):
        raise AssertionError(said)

    monkeypatch.setattr(architectures.ensemble, "measure", measure)
    architectures._announce.cache_clear()
    with pytest.raises(AssertionError, match="predicted before any kernel or network"):
        architectures.compute(config, network)


def test_the_metric_is_of_all_its_parts(run):
    config, rows, *_ = run
    weight, parts = architectures.metric(config, "global")
    (row,) = (
        r for r in rows if (r["stage"], r["architecture"]) == ("metric", "global")
    )
    assert row["ranks"] == pytest.approx([float(part.rank) for part in parts])
    each = np.array([part.weight for part in parts])
    np.testing.assert_allclose(weight, each.mean(axis=0))
    assert np.abs(each[0] - each[1]).max() > 0.01  # of other noise


def made_up(accuracies, *, weighted):
    """Rows at p = .9 of these accuracies of kernels and class means, draw by draw."""
    return [
        {
            "stage": "kernel",
            "architecture": name,
            "p": 0.9,
            "accuracy": found,
            "weighted": weighted[name],
            "plain": [0.5] * len(found),
            "alike": [0.75] * len(found),
            "alike_plain": [0.5, 0.5, 0.8, 0.5],
            "alike_clean": [0.5] * len(found),
        }
        for name, found in accuracies.items()
    ]


RULE = {
    "dense": [0.50, 0.51, 0.49, 0.50],
    "local": [0.40, 0.41, 0.40, 0.41],
    "global": [0.10, 0.11, 0.12, 0.11],
    "conv": [0.49, 0.52, 0.50, 0.48],  # not told from dense
}
KERNEL = {
    "dense": [0.30, 0.31, 0.29, 0.30],
    "local": [0.40, 0.41, 0.42, 0.41],
    "global": [0.10, 0.11, 0.12, 0.11],
    "conv": [0.30, 0.50, 0.10, 0.40],
}


def test_pairs_and_how_they_came_out():
    rows = made_up(KERNEL, weighted=RULE)
    found = {
        name: (rule, kernel) for name, rule, kernel in architecture_report.pairs(rows)
    }
    assert set(found) == {
        *("dense > local", "dense > global", "local > global"),
        *("conv > local", "conv > global"),
    }
    np.testing.assert_allclose(
        found["conv > local"][1], np.subtract(KERNEL["conv"], KERNEL["local"])
    )
    text = "\n".join(architecture_report.order(rows))
    assert "\nkernels    local 0.410 > " in text
    nets = "\n".join(
        architecture_report.order([{**row, "stage": "network"} for row in rows])
    )
    assert nets == text.replace("kernels   ", "networks  ").replace(
        "kernels", "networks"
    )
    assert (
        "5 of 6 pairs are predicted apart at 95%: 2 came out so, 1 reversed, of 2 "
        "the kernels do not tell"
    ) in text
    assert "reversed: dense > local, predicted +0.095 ±0.003, kernels -0.110" in text
    assert "not told: conv > local" in text
    assert "predicted  dense 0.500 > conv 0.497 > local 0.405 > global 0.110" in text
    # of one draw nothing is sure
    one = [{**row, "weighted": row["weighted"][:1]} for row in rows]
    assert not architecture_report.pairs(one)


def test_what_is_expected():
    metrics = [
        {"stage": "metric", "architecture": name, "ranks": [rank], "pixels": 64}
        for name, rank in (("dense", 64.0), ("local", 27.0))
    ]
    kernels = made_up(
        {name: KERNEL[name] for name in ("dense", "local")}, weighted=RULE
    )
    order, alike = architecture_report.expected(metrics, kernels)[:2]
    assert not order.holds
    assert order.own == pytest.approx([0.0] * 4)
    assert alike.what.startswith("local, kernels, p = 0.9")
    assert alike.own == pytest.approx([0.25, 0.25, -0.05, 0.25])
    assert alike.holds


def test_figures_of_others_stand_beside_runs_of_their_setting_alone(run):
    config, rows, _, directory = run
    text = architecture_report.table(directory, rows)
    assert "dense: effective pixels" in text
    assert "dense: alike clean class mean" in text  # whatever the number of images
    assert "kernel, p = 0.3" not in text  # of 150 images
    more = [{**row, "n_train": 150} for row in rows]
    text = architecture_report.table(directory, more)
    assert "dense: kernel, p = 0.3" in text
    other = [{**row, "n_train": 150, "activation": "relu"} for row in rows]
    assert "effective pixels  " not in architecture_report.table(directory, other)


def test_a_figure_is_drawn(run):
    config, rows, _, directory = run
    figure = architecture_figure.figure(directory, rows)
    drawn = [ax for ax in figure.axes if ax.images]
    assert len(drawn) == len(SOME) * architectures.DIRECTIONS
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    means = [np.mean(row["plain"]) for row in kernels(rows, "dense")]
    np.testing.assert_allclose(lines["plain class mean"].get_ydata(), means)
    for label, stage in (("exact kernel", "kernel"), ("one network", "network")):
        points = next(c for c in figure.axes[0].containers if c.get_label() == label)
        means = [np.mean(row["accuracy"]) for row in kernels(rows, "dense", stage)]
        np.testing.assert_allclose(points[0].get_ydata(), means)
    assert (directory.path / "figures" / "architectures.png").stat().st_size > 10_000


def test_cells_of_a_longer_sweep_are_those_there_were():
    short = architectures.cells(EXPERIMENT.configure("smoke"))
    more = EXPERIMENT.configure("smoke", p=(0.6, 0.8, 0.9), architectures=SOME)
    keys = {cell.key for cell in architectures.cells(more)}
    dense = [c.key for c in short if c.settings["architecture"] == "dense"]
    assert len(dense) == 5
    assert set(dense) <= keys
    # and kernels keep the key that they had before there were networks
    assert "6b3fed72573da62d" in {cell.key for cell in short}


def test_stages_are_chosen_and_networks_hold_what_decides_them():
    stages = lambda cells: [cell.settings["stage"] for cell in cells]
    config = EXPERIMENT.configure("smoke", architectures=("dense",))
    assert stages(architectures.cells(config)) == [
        *("metric", "kernel", "kernel", "network", "network")
    ]
    alone = dataclasses.replace(config, stages=("network",))
    assert stages(architectures.cells(alone)) == ["metric", "network", "network"]
    for name, value in (
        *(("width", 5), ("inits", 3), ("learning_rate", 0.5), ("epochs", 3)),
        *(("parametrisation", "ntk"), ("precision", "float32")),
    ):
        other = dataclasses.replace(config, **{name: value})
        new = [c.key for c in architectures.cells(other)]
        old = [c.key for c in architectures.cells(config)]
        assert new[:3] == old[:3], name
        assert not set(new[3:]) & set(old), name


def test_images_have_a_shape():
    assert stacks.image_shape(64, "digits") == (8, 8, 1)
    assert stacks.image_shape(3072, "cifar10") == (32, 32, 3)
    with raises("`--dataset` must hold square images, got words of 20 numbers"):
        stacks.image_shape(20, "words")


def test_a_singular_kernel_is_refused(run):
    config, *_ = run
    problem = shared_settings.problem(config, 0)
    twice = theory.Problem(
        x_train=problem.x_train.at[1].set(problem.x_train[0]),
        labels_train=problem.labels_train,
        x_test=problem.x_test,
        labels_test=problem.labels_test,
        num_classes=10,
    )
    with raises("training images 0 and 1 are identical", theory.NumericalError):
        stacks.outputs(stacks.stack(config, "dense", 64), twice)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"architectures": ("dense", "rnn")}, "unknown --architectures 'rnn'"),
        ({"samples": 10}, "`--samples` must be a multiple of 4 and at least 8, got 10"),
        ({"activation": "step"}, "`--activation` must have a slope"),
        ({"stages": ("law",)}, "unknown --stages 'law'"),
        ({"parametrisation": "mup"}, "unknown parametrisation 'mup'"),
        ({"loss": "hinge"}, "unknown loss 'hinge'"),
        (
            {"corruption": "clipped_additive", "normalise": "unit"},
            "`--corruption` must leave nothing but noise",
        ),
        ({"size": 7}, "architecture local: windows of 2 x 2 do not divide"),
        ({"size": 300}, "the metric of dense on 90000 pixels needs"),
        ({"p": (0.5, 1.5)}, "`p` must be a corruption level in [0, 1], got 1.5"),
    ],
)
def test_bad_flags_are_refused(tmp_path, settings, text):
    config = EXPERIMENT.configure("smoke", **settings)
    with raises(text):
        runner.execute(EXPERIMENT, config, workdir=tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_presets_have_a_cost_that_is_known():
    for preset, most in (("smoke", 120), ("cpu", 3600), ("notes", 1200)):
        config = EXPERIMENT.configure(preset)
        cells = architectures.cells(config)
        assert 0 < sum(architectures.estimate(config, cell) for cell in cells) < most
