"""What the exact route cannot solve or take, and in which words it says so."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from exact_cases import ERF, KEY, NOISE, PROBLEM, SIGNS, check_by_hand
from problems import prototypes

from theory import exact
from theory.activations import registry
from theory.corruption.corruptions import ClippedAdditive, Replacement
from theory.errors import InputError, NumericalError
from theory.kernels.architecture import Architecture
from theory.numerics import memory


def test_float32_says_when_float64_is_needed():
    near = PROBLEM.x_train.at[3].set(PROBLEM.x_train[1] + 1e-4)
    problem = dataclasses.replace(PROBLEM, x_train=near)
    noise = Replacement(p=0.0, noise=SIGNS)
    text = "of 16 training images in float32 is "
    for part in (text, ": float64 is needed: enable x64, or pass `ridge`"):
        with raises(part, NumericalError):
            exact(ERF, noise, problem.astype(np.float32), draws=1, key=KEY)
    assert exact(ERF, noise, problem, draws=1, key=KEY).outputs.dtype == np.float64


def with_copies(*pairs):
    x = PROBLEM.x_train
    for copy, original in pairs:
        x = x.at[copy].set(x[original])
    return dataclasses.replace(PROBLEM, x_train=x)


def test_duplicates_are_named_and_cured_by_ridge():
    clean, twice = Replacement(p=0.0, noise=SIGNS), with_copies((9, 2))
    text = (
        "training images 2 and 9 are identical: remove the duplicates or pass `ridge`"
    )
    with raises(text, NumericalError):
        exact(ERF, clean, twice, draws=1, key=KEY)
    thrice = with_copies((9, 2), (12, 2), (8, 4))
    with raises("are identical (3 duplicates in all): remove the", NumericalError):
        exact(ERF, clean, thrice, draws=1, key=KEY)
    check_by_hand(ERF, clean, thrice, ridge=0.1)
    with raises("or raise `ridge` (now 1e-17)", NumericalError):
        exact(ERF, clean, twice, draws=1, key=KEY, ridge=1e-17)
    # corruption separates them
    check_by_hand(ERF, NOISE, twice)
    # the flow needs no inverse, unless it never ends
    check_by_hand(ERF, clean, twice, time=2.0)
    with raises(text, NumericalError):
        exact(ERF, clean, twice, draws=1, key=KEY, time=np.inf)


def test_a_kernel_of_low_rank_is_refused():
    # a linear model of 16 images in 8 pixels
    problem = prototypes((6, 5, 3, 2), d=8)
    linear = Architecture(depth=1, activation="erf")
    text = "or use an activation or a corruption that separates them"
    with raises(text, NumericalError):
        exact(linear, NOISE, problem, draws=1, key=KEY)


def test_a_truncated_series_is_refused():
    coarse = registry.custom(jnp.tanh, terms=4, name="coarse")
    arch = Architecture(depth=2, activation=coarse)
    with raises("the dual of coarse is truncated with relative error ", NumericalError):
        exact(arch, NOISE, PROBLEM, draws=1, key=KEY, with_init_var=False)


def test_more_than_the_memory_is_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 4 * 16**2 * 8)
    exact(ERF, NOISE, PROBLEM, draws=1, key=KEY)
    monkeypatch.setattr(memory, "available_bytes", lambda: 4 * 16**2 * 8 - 1)
    text = "the exact kernel of 16 training images in float64 needs 7.63e-06 GiB and "
    for part in (
        text,
        "use a smaller n_train, float32 (half of it), or theory.exact_iterative",
    ):
        with raises(part):
            exact(ERF, NOISE, PROBLEM, draws=1, key=KEY)
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 * 16**2 * 8)
    exact(ERF, NOISE, PROBLEM, draws=1, key=KEY, with_init_var=False)
    monkeypatch.setattr(memory, "available_bytes", lambda: 4 * 48**2 * 8 - 1)
    exact(ERF, NOISE, PROBLEM, draws=1, key=KEY)
    with raises("exact kernel of 16 training images, 3 copies each, in float64 needs"):
        exact(ERF, NOISE, PROBLEM, draws=1, key=KEY, copies=3)
    monkeypatch.undo()
    n = 2_000_000
    huge = dataclasses.replace(
        PROBLEM,
        x_train=jnp.zeros((n, 1)),
        labels_train=jnp.zeros(n, int),
        x_test=jnp.zeros((1, 1)),
        labels_test=jnp.zeros(1, int),
    )
    with raises(
        "the exact kernel of 2000000 training images in float64 needs 1.19e+05"
    ):
        exact(ERF, NOISE, huge, draws=1, key=KEY)


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"draws": 0}, "`draws` must be an integer of at least 1, got 0"),
        ({"draws": -2}, "`draws` must be an integer of at least 1, got -2"),
        ({"ridge": -0.1}, "`ridge` must be finite and not negative, got -0.1"),
        ({"ridge": float("nan")}, "`ridge` must be a number, got nan"),
        ({"ridge": float("inf")}, "`ridge` must be finite and not negative, got inf"),
        ({"time": -1.0}, "`time` must not be negative, got -1.0"),
        ({"time": float("nan")}, "`time` must be a number, got nan"),
        ({"ridge": 0.1, "time": 1.0}, "`ridge` and `time` exclude each other"),
        ({"copies": 0}, "`copies` must be an integer of at least 1, got 0"),
        (
            {"test_corruption": ClippedAdditive(sigma=0.2)},
            "`test_corruption`: ClippedAdditive needs pixels in [0, 1], got ",
        ),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense(kwargs, text):
    with raises(text):
        exact(ERF, NOISE, PROBLEM, **({"draws": 1, "key": KEY} | kwargs))


def test_problems_and_noises_are_checked():
    with raises("ClippedAdditive needs pixels in [0, 1], got "):
        exact(ERF, ClippedAdditive(sigma=0.2), PROBLEM, draws=1, key=KEY)
    with raises("`p` must be a corruption level in [0, 1], got 2.0"):
        exact(ERF, Replacement(p=2.0), PROBLEM, draws=1, key=KEY)
    step = Architecture(depth=2, activation="step")
    with pytest.raises(InputError, match="step has no NTK"):
        exact(step, NOISE, PROBLEM, draws=1, key=KEY)
    bad = dataclasses.replace(PROBLEM, x_test=PROBLEM.x_test[:, :-1])
    with raises("must have the same number of inputs per point, got 20 and 19"):
        exact(ERF, NOISE, bad, draws=1, key=KEY)
