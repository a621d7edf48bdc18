"""What the routes refuse alike, and what laws say of themselves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from problems import prototypes

import theory
from theory.errors import NumericalError, check_count

PROBLEM = prototypes((4, 4, 4), n_test=6, d=20, spread=1.0, seed=0)
NOISE, KEY = theory.Replacement(p=0.9), jax.random.key(0)
ERF = theory.Architecture(depth=2, activation="erf")

ROUTES = {
    "first_order": lambda arch: theory.first_order(arch, NOISE, PROBLEM),
    "resummed": lambda arch: theory.resummed(arch, NOISE, PROBLEM),
    "exact": lambda arch: theory.exact(arch, NOISE, PROBLEM, draws=1, key=KEY),
    "exact_iterative": lambda arch: theory.exact_iterative(
        arch, NOISE, PROBLEM, draws=1, key=KEY
    ),
    "trajectory": lambda arch: theory.trajectory(
        arch, NOISE, PROBLEM, times=[1.0], draws=1, key=KEY
    ),
    "kernel": lambda arch: theory.ntk_gram(PROBLEM.x_train, arch),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("fn", "terms"), [(jnp.sign, 256), (jnp.tanh, 8)])
def test_a_series_that_is_too_short_is_refused_by_all_routes(route, fn, terms):
    activation = theory.custom(fn, terms=terms)
    arch = theory.Architecture(depth=2, activation=activation)
    with raises(f"the dual of {fn.__name__} is truncated", NumericalError):
        ROUTES[route](arch)


@pytest.mark.parametrize(
    ("fn", "text"),
    [
        (jax.nn.softmax, "`fn` must be a function of jax.numpy of one number"),
        (lambda u: u / jnp.abs(u).max(), "`fn` must be a function of one number"),
        (lambda u: u.sum(), "`fn` must take an array to one of its shape"),
        (lambda u: u > 0, "`fn` must take an array to one of its shape and dtype"),
        (jnp.log, "`fn` must be a function of one number, finite"),
    ],
)
def test_what_is_no_activation(fn, text):
    with raises(text):
        theory.custom(fn)


def twins(gap, dtype):
    """Two images of one thing, with other labels."""
    x = np.array(PROBLEM.x_train)
    x[1] = x[0]
    x[1, 0] += gap
    labels = np.array(PROBLEM.labels_train)
    labels[:2] = 0, 1
    return dataclasses.replace(
        PROBLEM, x_train=jnp.asarray(x), labels_train=jnp.asarray(labels)
    ).astype(dtype)


RELU = theory.Architecture(depth=3, activation="relu", w_var=2.0)
CLEAN = theory.Replacement(p=0.0)


@pytest.mark.parametrize(
    "solver",
    [
        theory.ConjugateGradient(),
        pytest.param(theory.Cholesky(), marks=pytest.mark.slow),
    ],
)
def test_near_twins_are_right_or_refused_without_a_whole_kernel(solver):
    answers = 0
    for gap in (1e-1, 1e-3, 1e-9):
        exact = theory.exact(RELU, CLEAN, twins(gap, np.float64), draws=1, key=KEY)
        for dtype in (np.float32, np.float64):
            try:
                found = theory.exact_iterative(
                    RELU, CLEAN, twins(gap, dtype), draws=1, key=KEY, solver=solver
                )
            except NumericalError:
                continue
            answers += 1
            error = np.abs(np.asarray(found.outputs) - exact.outputs).max()
            # the bound of the residual, and rounding of the entries over the gap
            told = float(found.diagnostics["output_error"][0])
            assert told < 0.1  # of the targets: more is refused
            assert error <= told + 100 * np.finfo(dtype).eps / gap
    assert 3 <= answers < 6


def test_what_a_law_says_of_itself():
    law = theory.resummed(ERF, NOISE, PROBLEM)
    text = repr(dataclasses.replace(law, diagnostics={"valid": True, "doubts": ()}))
    assert text.startswith("ResummedLaw(6 points x 3 classes in float64, average over")
    assert "NOT" not in text
    doubted = {"valid": False, "doubts": ("too many images",)}
    bad = dataclasses.replace(
        law, diagnostics=doubted, mean=law.mean.at[0, 0].set(jnp.nan)
    )
    assert "NOT VALID: too many images" in repr(bad)
    assert "NOT FINITE: mean" in repr(bad)
    assert "average over 2" in repr(law.averaged(2))
    first = theory.first_order(ERF, NOISE, PROBLEM)
    assert "`init_var` not known" in repr(first)
    draws = theory.exact(ERF, NOISE, PROBLEM, draws=2, key=KEY)
    assert repr(draws) == (
        "Draws(2 draws x 1 average over all initialisations x 6 points x 3 classes in "
        "float64)"
    )
    assert len(repr(jax.tree.map(lambda _: 0, law))) < 100


def test_the_surrogate_is_that_of_its_law():
    law = theory.resummed(ERF, NOISE, PROBLEM)
    other = dataclasses.replace(PROBLEM, x_train=PROBLEM.x_train[::-1])
    for noise, problem in ((theory.Replacement(p=0.8), PROBLEM), (NOISE, other)):
        with raises("`corruption` and `problem` must be those of the law"):
            theory.surrogate(law, noise, problem, draws=1, key=KEY)
    fewer = dataclasses.replace(PROBLEM, num_classes=4)
    with raises("`problem` must be that of the law, of 3 classes, got 4"):
        theory.surrogate(law, NOISE, fewer, draws=1, key=KEY)


def test_counts_have_an_end():
    check_count("draws", 2**31 - 1)
    with raises("`draws` must be below 2^31, got 2147483648"):
        check_count("draws", 2**31)
    with raises("the outputs of 2147483647 draws needs"):
        theory.exact(ERF, NOISE, PROBLEM, draws=2**31 - 1, key=KEY)
