"""Problem and architecture: what they hold, and what they refuse."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close

from theory.activations import registry
from theory.errors import InputError, unknown
from theory.kernels.architecture import Architecture
from theory.problem import Problem


def problem(**changes):
    whole = Problem(
        x_train=jnp.arange(12.0).reshape(4, 3),
        labels_train=jnp.array([0, 2, 0, 1]),
        x_test=jnp.ones((2, 3)),
        labels_test=jnp.array([1, 0]),
        num_classes=4,
    )
    return dataclasses.replace(whole, **changes)


# --- problems ------------------------------------------------------------------


def test_targets_and_counts():
    one_hot = np.zeros((4, 4))
    one_hot[np.arange(4), [0, 2, 0, 1]] = 1
    assert_close(np.asarray(problem().y), one_hot)
    assert np.array_equal(problem().class_counts, [2, 1, 1, 0])
    problem().check()  # a class without an image is legal


def test_astype():
    single = problem().astype(jnp.float32)
    assert {single.x_train.dtype, single.x_test.dtype, single.y.dtype} == {
        np.dtype("float32")
    }
    assert single.labels_train.dtype == problem().labels_train.dtype
    single.check()


def test_a_problem_passes_through_jax():
    doubled = jax.tree.map(lambda leaf: 2 * leaf, problem())
    assert doubled.num_classes == 4
    assert_close(doubled.x_train, 2 * problem().x_train)
    traces = []

    @jax.jit
    def targets(p):
        traces.append(1)
        return p.y

    targets(problem())
    targets(problem(x_train=jnp.ones((4, 3))))
    assert len(traces) == 1
    targets(problem(num_classes=5))
    assert len(traces) == 2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"x_train": jnp.ones((4, 3, 1))},
            r"`x_train` must have shape \(n, d\) with n, d >= 1, got \(4, 3, 1\): flat",
        ),
        ({"x_test": jnp.ones((0, 3))}, r"`x_test` must have shape .* got \(0, 3\)"),
        (
            {"x_train": jnp.ones((4, 3), jnp.int32)},
            "`x_train` must be floating point, float32 or float64, got int32",
        ),
        (
            {"labels_train": jnp.array([0, 1])},
            r"`labels_train` must have shape \(4,\) to match `x_train`, got \(2,\)",
        ),
        (
            {"labels_test": jnp.array([0.0, 1.0])},
            "`labels_test` must be integers, got float64",
        ),
        (
            {"labels_test": jnp.array([0, 4])},
            r"`labels_test` must lie in 0 \.\.\. 3 \(`num_classes` is 4\), got 4",
        ),
        ({"labels_train": jnp.array([0, -1, 0, 0])}, "got -1"),
        (
            {"x_test": jnp.full((2, 3), jnp.nan)},
            "`x_test` must be finite, got NaN or infinity",
        ),
        ({"x_train": jnp.full((4, 3), jnp.inf)}, "`x_train` must be finite"),
        (
            {"x_test": jnp.ones((2, 5))},
            "same number of inputs per point, got 3 and 5",
        ),
        (
            {"x_test": jnp.ones((2, 3), jnp.float32)},
            "must have the same dtype, got float64 and float32",
        ),
    ],
)
def test_what_a_problem_refuses(changes, text):
    with pytest.raises(InputError, match=text):
        problem(**changes).check()


# --- architectures -------------------------------------------------------------


def arch(**changes):
    return dataclasses.replace(Architecture(depth=3, activation="erf"), **changes)


def test_defaults_are_legal():
    arch().check()
    assert (arch().w_var, arch().b_var) == (1.0, 0.0)
    assert arch().phi is registry.get("erf")
    own = registry.leaky_relu(0.3)
    assert arch(activation=own).phi is own


def test_standard():
    made = Architecture.standard(
        widths=(784, 100, 50), activation="relu", w_var=2.0, b_var=0.1
    )
    made.check()
    assert (made.depth, made.w_var, made.b_var) == (3, 2.0, 0.1)
    assert made.w_rates == (392.0, 50.0, 25.0)
    assert made.b_rates == (1.0, 1.0, 1.0)


def test_variances_and_rates_are_traced_and_the_rest_is_static():
    leaves = jax.tree.leaves(arch(w_rates=(1.0, 2.0, 3.0), b_rates=(4.0, 5.0, 6.0)))
    assert leaves == [1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    structure = jax.tree.structure(arch())
    assert structure == jax.tree.structure(arch(w_var=2.0, b_var=0.3))
    assert structure != jax.tree.structure(arch(depth=4))
    assert structure != jax.tree.structure(arch(activation="relu"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"depth": 0}, r"`depth` must be at least 1 \(a linear model\), got 0"),
        ({"depth": 2.0}, r"`depth` must be an integer, got 2\.0"),
        ({"depth": True}, "`depth` must be an integer, got True"),
        ({"activation": "tanhh"}, "unknown activation 'tanhh': did you mean 'tanh'"),
        ({"w_var": 0.0}, r"`w_var` must be positive and finite, got 0\.0"),
        ({"w_var": float("nan")}, "`w_var` must be positive and finite, got nan"),
        ({"b_var": -0.1}, r"`b_var` must be finite and not negative, got -0\.1"),
        ({"b_var": float("nan")}, "`b_var` must be finite and not negative, got nan"),
        (
            {"w_rates": (1.0, 1.0)},
            "`w_rates` must have one entry per weight layer, 3, got 2",
        ),
        (
            {"b_rates": (1.0, -1.0, 0.0)},
            r"`b_rates` must be finite and not negative, got \(1\.0, -1\.0, 0\.0\)",
        ),
        (
            {"w_rates": (1.0, 1.0, float("nan"))},
            "`w_rates` must be finite and",
        ),
    ],
)
def test_what_an_architecture_refuses(changes, text):
    with pytest.raises(InputError, match=text):
        arch(**changes).check()


def test_records_are_frozen():
    for record, name in ((arch(), "depth"), (problem(), "x_train")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, 2)


# --- errors --------------------------------------------------------------------


def test_unknown_names_the_nearest():
    text = str(unknown("colour", "gren", ["pink", "green", "blue"]))
    assert text == (
        "unknown colour 'gren': did you mean 'green'? valid are blue, green, pink."
    )
    assert "did you mean" not in str(unknown("colour", "xyz", ["red"]))
