"""Named architectures: their exact kernel, and the routes of a curve that take them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

import theory
from experiments import accuracy_curve
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.laws import accuracy_report
from experiments.shared import routes, rows, stacks
from experiments.shared import settings as shared_settings
from theory import architectures

TINY = {
    "n_train": 20,
    "n_test": 20,
    "p": (0.5,),
    "draws": 2,
    "inits": 2,
    "width": 4,
    "epochs": 2,
}


def config_of(architecture, **settings):
    return accuracy_curve.EXPERIMENT.configure(
        "smoke", **{**TINY, "architecture": architecture, **settings}
    )


def test_exact_kernels_of_a_dense_stack_are_those_of_a_perceptron():
    rng = np.random.default_rng(0)
    labels = jnp.arange(6) % 2
    problem = theory.Problem(
        x_train=jnp.asarray(rng.normal(size=(6, 9))),
        labels_train=labels,
        x_test=jnp.asarray(rng.normal(size=(6, 9))),
        labels_test=labels,
        num_classes=2,
    )
    arch = theory.Architecture(depth=2, activation="erf", b_var=0.1)
    of = architectures.dense(shape=(3, 3, 1), depth=2, activation="erf", b_var=0.1)
    noise = theory.Replacement(p=0.5, noise=theory.Uniform(-1.0, 1.0))
    key = jax.random.key(0)
    own = stacks.exact(of, noise, problem, draws=2, key=key)
    expected = theory.exact(arch, noise, problem, draws=2, key=key)
    for name in ("outputs", "init_var", "draw_keys"):
        np.testing.assert_allclose(
            getattr(own, name), getattr(expected, name), rtol=1e-8, atol=1e-10
        )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A curve of the stack that is a perceptron: rows, and where they are."""
    config, workdir = config_of("dense"), tmp_path_factory.mktemp("dense")
    return config, runner.execute(
        accuracy_curve.EXPERIMENT, config, workdir=workdir
    ), RunDirectory(workdir)  # fmt: skip


@pytest.mark.slow  # weekly: kernels by the test above, settings by those below
def test_the_exact_kernel_of_a_dense_stack_is_that_of_the_perceptron(run):
    config, found, directory = run
    (row,) = (row for row in found if row["route"] == "exact")
    own = rows.stored_draws(directory, row)
    problem = shared_settings.problem(config, 0)
    draws = theory.exact(
        theory.Architecture(depth=3, activation="erf"),
        shared_settings.corruption(config, 0.5),
        problem,
        draws=2,
        key=shared_settings.corruption_key(config, 0),
    )
    for name in ("outputs", "init_var"):
        # kept in float32
        np.testing.assert_allclose(
            getattr(own, name), getattr(draws, name), rtol=1e-5, atol=1e-6
        )
    np.testing.assert_array_equal(own.draw_keys, draws.draw_keys)
    for inits in ("1", "10", "inf"):
        many = None if inits == "inf" else int(inits)
        expected = draws.accuracies(problem.labels_test, many)
        np.testing.assert_allclose(row["accuracies"][inits], expected, atol=1e-6)


@pytest.mark.slow  # weekly: kernels by the test above, settings by those below
def test_a_curve_of_an_architecture_says_which(run):
    config, found, directory = run
    # of the usual routes those that take it
    assert [row["route"] for row in found] == ["exact", "network"]
    assert {row["architecture"] for row in found} == {"dense"}
    assert set(found[1]["accuracies"]) == {"1", "2"}
    title = accuracy_report.figure(directory, found).get_suptitle()
    assert title.endswith("erf, dense")
    # figures of others are of perceptrons
    of_source = {"dataset": "mnist", "n_train": 4000, "p": 0.9, "width": 2048}
    text = accuracy_report.table(directory, [{**row, **of_source} for row in found])
    assert "tolerance" not in text


@pytest.mark.slow  # weekly: that of a dense stack is above
def test_the_variance_over_initialisations_of_pooled_layers():
    # the joint Gaussian of all outputs before training, through the solve
    config = config_of("local")
    problem = shared_settings.problem(config, 0)
    of = stacks.stack(config, "local", 64)
    noise = shared_settings.corruption(config, 0.5)
    key = jax.random.key(3)
    found = stacks.exact(of, noise, problem, draws=1, key=key)
    x = theory.corrupt(noise, key, 0, problem.x_train)
    pair = architectures.gram(jnp.concatenate([x, problem.x_test]), of)
    nngp, ntk = np.asarray(pair.nngp), np.asarray(pair.ntk)
    n = len(x)
    through = np.linalg.solve(ntk[:n, :n], ntk[:n, n:]).T
    np.testing.assert_allclose(
        found.outputs[0, 0], through @ np.asarray(problem.y), atol=1e-8
    )
    joint = np.concatenate([-through, np.eye(len(through))], axis=1)
    expected = np.einsum("ia,ab,ib->i", joint, nngp, joint)
    assert found.init_var is not None
    np.testing.assert_allclose(found.init_var[0], expected, rtol=1e-7)


def test_cells_of_an_architecture_hold_what_decides_them():
    usual = {"depth", "biases", "rates"}
    mlp = {c.settings["route"]: c for c in routes.cells(config_of(stacks.MLP))}
    assert all("architecture" not in cell.settings for cell in mlp.values())
    for cell in routes.cells(config_of("conv")):
        own, other = set(cell.settings), set(mlp[cell.settings["route"]].settings)
        assert own - other == {"architecture"}
        assert other - own <= usual
        assert not own & usual
    names = [routes.cells(config_of(name))[0].key for name in stacks.ARCHITECTURES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"architecture": "rnn"}, "unknown --architecture 'rnn'"),
        (
            {"routes": ("resummed", "exact")},
            "`--routes` must be without resummed for --architecture=conv",
        ),
        ({"depth": 4}, "`--depth` must be left at 3 for --architecture=conv, got 4"),
        ({"rates": "standard"}, "`--rates` must be left at ntk for --architecture"),
        ({"biases": False}, "`--biases` must be left at True for --architecture"),
        ({"architecture": "local", "size": 9}, "windows of 2 x 2 do not divide 9 x 9"),
        ({"activation": "step"}, "`--activation` must have a slope"),
    ],
)
def test_what_does_not_go_with_an_architecture_is_refused(tmp_path, settings, text):
    config = config_of(settings.pop("architecture", "conv"), **settings)
    with raises(text):
        runner.execute(accuracy_curve.EXPERIMENT, config, workdir=tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_costs_grow_with_positions():
    config = dataclasses.replace(config_of("conv"), width=64)
    seconds = {}
    for name in ("conv", "conv2", "local"):
        of = dataclasses.replace(config, architecture=name)
        seconds[name] = {
            cell.settings["route"]: routes.estimate(of, cell)
            for cell in routes.cells(of)
        }
    assert seconds["local"]["exact"] > seconds["conv2"]["exact"]
    of = stacks.stack(config, "conv2", 64)
    # 64 positions of 9 pixels, of 9 x 64 channels, and the dense layer
    exactly = 64 * 9 * 64 + 64 * 9 * 64 * 64 + 64 * 64 * 10
    assert exactly < stacks.multiply_adds(config, of) < 1.1 * exactly
