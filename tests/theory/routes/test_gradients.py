"""The laws under `grad`, `jit` and `vmap`: what is promised as traced is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import prototypes

import theory
from theory import first_order
from theory.corruption.corruptions import Additive, Replacement
from theory.kernels.architecture import Architecture

PROBLEM = prototypes((4, 4, 4), n_test=6, d=20, spread=1.0, seed=0)
KEY = jax.random.key(0)
AT = (0.9, 1.3, 0.2)


def by_first_order(arch, p, problem):
    return first_order(arch, Replacement(p=p), problem)


def by_resummed(arch, p, problem):
    return theory.resummed(arch, Replacement(p=p), problem).averaged(2)


def accuracy(of, p, w_var, b_var, problem=PROBLEM, activation="erf"):
    arch = Architecture(depth=2, activation=activation, w_var=w_var, b_var=b_var)
    return of(arch, p, problem).per_point(problem.labels_test).mean()


def of_exact(p, w_var, b_var):
    """One network's accuracy, given the draws."""
    arch = Architecture(depth=2, activation="erf", w_var=w_var, b_var=b_var)
    draws = theory.exact(arch, Additive(p=p), PROBLEM, draws=2, key=KEY)
    return draws.accuracies(PROBLEM.labels_test, 1).mean()


@pytest.mark.parametrize(
    "of",
    [
        pytest.param(lambda *at: accuracy(by_first_order, *at), id="first_order"),
        pytest.param(
            lambda *at: accuracy(by_resummed, *at),
            id="resummed",
            marks=pytest.mark.slow,
        ),
        pytest.param(of_exact, id="exact"),
    ],
)
def test_gradients_in_the_level_and_the_variances(of):
    found = jax.grad(of, argnums=(0, 1, 2))(*AT)
    for k, slope in enumerate(found):
        h = 1e-5
        ends = [
            of(*[value + sign * h * (i == k) for i, value in enumerate(AT)])
            for sign in (1, -1)
        ]
        # rounding of the quadrature, and of a fixed point within 1e4 roundings, over h
        by_difference = float(ends[0] - ends[1]) / (2 * h)
        assert float(slope) == pytest.approx(by_difference, abs=1e-6)


@pytest.mark.parametrize(
    "of",
    [by_first_order, pytest.param(by_resummed, marks=pytest.mark.slow)],
)
def test_gradients_in_the_level_and_the_test_points(of):
    def at(p, x):
        problem = dataclasses.replace(PROBLEM, x_test=x)
        return accuracy(of, p, *AT[1:], problem=problem)

    p, x, h = AT[0], PROBLEM.x_test, 1e-5
    by_p, by_x = jax.grad(at, argnums=(0, 1))(p, x)
    by_difference = float(at(p + h, x) - at(p - h, x)) / (2 * h)
    assert float(by_p) == pytest.approx(by_difference, abs=1e-6)
    change = jnp.zeros_like(x).at[2, 3].set(h)
    by_difference = float(at(p, x + change) - at(p, x - change)) / (2 * h)
    assert float(by_x[2, 3]) == pytest.approx(by_difference, abs=1e-6)


@pytest.mark.parametrize(
    "of", [by_first_order, pytest.param(by_resummed, marks=pytest.mark.slow)]
)
def test_a_sweep_over_levels_is_one_program(of):
    levels = jnp.asarray([0.8, 0.9, 0.95])
    of_level = lambda p: accuracy(of, p, 1.3, 0.2)
    each = [float(of_level(p)) for p in levels]
    # all combinations of images are landmarks there, beside these that matter
    np.testing.assert_allclose(jax.vmap(of_level)(levels), each, rtol=1e-9)
    np.testing.assert_allclose(jax.jit(of_level)(levels[0]), each[0], rtol=1e-9)


def test_what_has_no_derivative_says_so():
    def of_draw(p):
        return theory.corrupt(Replacement(p=p), KEY, 0, PROBLEM.x_train).sum()

    with pytest.raises(theory.InputError, match="have no derivative"):
        jax.grad(of_draw)(0.5)
    assert jnp.isfinite(jax.jit(of_draw)(0.5))


def test_what_must_be_known_under_tracing():
    many = prototypes((2501, 2501), n_test=2, d=3, spread=1.0, seed=0)
    arch = Architecture(depth=2, activation="erf")

    def of_level(p, **options):
        return theory.resummed(arch, Replacement(p=p), many, **options).mean

    with pytest.raises(
        theory.InputError,
        match="for 5002 images",
    ):
        jax.eval_shape(of_level, 0.9)
    assert jax.eval_shape(lambda p: of_level(p, landmarks=50), 0.9).shape == (2, 2)
    with pytest.raises(theory.InputError, match="`time` of resummed cannot be traced"):
        jax.eval_shape(lambda p: of_level(p, time=1.0), 0.9)


def test_a_singular_kernel_is_no_number_where_nobody_can_be_told():
    x = PROBLEM.x_train.at[1].set(PROBLEM.x_train[0])
    twins = dataclasses.replace(PROBLEM, x_train=x)
    arch = Architecture(depth=2, activation="erf")

    def outputs(p):
        return theory.exact(arch, Additive(p=p), twins, draws=1, key=KEY).outputs

    assert jnp.isnan(jax.jit(outputs)(0.0)).all()
    assert jnp.isfinite(jax.jit(outputs)(0.5)).all()


CALLS = {
    "first_order": lambda arch, p: first_order(
        arch, Replacement(p=0.9), p, isotropic=True, test_corruption=Additive(p=0.3)
    ).accuracy(p.labels_test),
    "resummed": lambda arch, p: (
        theory.resummed(arch, Replacement(p=0.9), p, with_init_var=False),
        theory.resummed(arch, Replacement(p=0.9), p, time=3.0).accuracy(p.labels_test),
    ),
    "exact": lambda arch, p: theory.exact(
        arch, Replacement(p=0.9), p, draws=2, key=KEY, copies=2
    ).law(),
    "exact_iterative": lambda arch, p: theory.exact_iterative(
        arch,
        Replacement(p=0.9),
        p,
        draws=1,
        key=KEY,
        refine=1,
        init_var_at=np.array([0, 2]),
    ).known_points(),
    "trajectory": lambda arch, p: theory.trajectory(
        arch, Replacement(p=0.9), p, train_mse=[0.1], inits=2, draws=1, key=KEY
    ).accuracies(p.labels_test),
}


# Of the two that take longest to compile, one dtype here and both once a week.
HEAVY = ("resummed", "exact_iterative")


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        pytest.param(dtype, name, marks=[pytest.mark.slow] * (once and name in HEAVY))
        for dtype, once in ((np.float32, True), (np.float64, False))
        for name in CALLS
    ],
)
def test_without_nan_and_under_strict_promotion(name, dtype):
    # jax#6936, jax#7510: library functions that raise though nothing is wrong
    arch = Architecture(depth=2, activation="erf", w_var=1.3, b_var=0.2)
    with jax.debug_nans(True), jax.numpy_dtype_promotion("strict"):
        CALLS[name](arch, PROBLEM.astype(dtype))
