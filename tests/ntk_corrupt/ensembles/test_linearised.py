"""Ensembles solved at their tangent: the members of trained ones, and their law."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from problems import prototypes
from small_ensembles import ARCH, KEY, NOISE, problem

import theory
from ntk_corrupt.ensembles import ensemble, programs
from ntk_corrupt.ensembles.linearised import measure_linearised
from ntk_corrupt.kernels import linearised
from ntk_corrupt.networks import mlp
from ntk_corrupt.training.config import TrainConfig


def test_members_start_where_trained_ones_do():
    asked: dict[str, Any] = {
        "width": 16,
        "draws": 2,
        "inits": 2,
        "key": KEY,
        "first_draw": 1,
    }
    untrained = TrainConfig(epochs=0)
    data = problem()
    start = ensemble.measure(
        ARCH, NOISE, data, config=untrained, parametrisation="ntk", **asked
    )
    # a ridge so large that nothing is learned
    found = measure_linearised(ARCH, NOISE, data, ridge=1e12, **asked)
    np.testing.assert_allclose(found.outputs, start.outputs, atol=1e-5)
    np.testing.assert_array_equal(found.draw_keys, start.draw_keys)


def test_members_see_the_images_of_their_draw():
    data = problem(np.float64)
    settings: dict[str, Any] = {
        "width": 16,
        "inits": 1,
        "key": KEY,
        "copies": 2,
        "ridge": 0.1,
    }
    both = measure_linearised(ARCH, NOISE, data, draws=2, **settings)
    second = measure_linearised(ARCH, NOISE, data, draws=1, first_draw=1, **settings)
    np.testing.assert_array_equal(both.outputs[1:], second.outputs)
    x = theory.corrupt_copies(NOISE, KEY, 1, data.x_train, 2)
    model = mlp.mlp(ARCH, 16, data.num_classes, parametrisation="ntk")
    params = programs.initial(model, KEY, np.array([1, 0]), x.shape[1])
    y = np.concatenate([data.y, data.y])
    expected = linearised.regress(
        model, params, x, jnp.asarray(y), data.x_test, ridge=0.1
    )
    np.testing.assert_allclose(second.outputs[0, 0], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("activation", "depth", "width"),
    [("erf", 2, 60), pytest.param("relu", 3, 80, marks=pytest.mark.slow)],
)
def test_variance_is_that_of_the_law_of_their_width(activation, depth, width):
    data = prototypes((20, 20, 20), n_test=30, d=40)
    corruption = theory.Replacement(p=0.5, noise=theory.Normal())
    arch = theory.Architecture(depth=depth, activation=activation, w_var=1.5, b_var=0.1)
    at: dict[str, Any] = {"key": KEY, "draws": 1}
    law = theory.exact(arch, corruption, data, width=width, **at)
    wide = theory.exact(arch, corruption, data, **at)
    inits = 80
    nets = measure_linearised(arch, corruption, data, width=width, inits=inits, **at)
    assert law.init_var is not None
    assert law.kernel_cov is not None
    assert wide.init_var is not None
    shared = np.trace(law.kernel_cov, axis1=-2, axis2=-1) / 3
    predicted = float((law.init_var + shared).mean())
    outputs = np.asarray(nets.outputs[0])
    groups = outputs.reshape(8, inits // 8, *outputs.shape[1:])
    every = groups.var(axis=1, ddof=1).mean(axis=(1, 2))
    measured, error = every.mean(), every.std(ddof=1) / 8**0.5
    # benchmarks/finite_width.py: within 6 % up to as many points as units
    assert abs(predicted - measured) < 4 * error + 0.06 * measured
    # of infinite width it is far above
    assert float(wide.init_var.mean()) > measured + 4 * error + 0.1 * measured


def test_progress_and_refusals():
    told = []
    asked: dict[str, Any] = {"width": 4, "draws": 1, "inits": 2, "key": KEY}
    measure_linearised(
        *(ARCH, NOISE, problem(np.float64)),
        **asked,
        ridge=1.0,
        progress=lambda done, of, _: told.append((done, of)),
    )
    assert told == [(1, 2), (2, 2)]
    for settings, text in (
        ({"draws": 0}, "`draws` must be an integer of at least 1"),
        ({"inits": 1.5}, "`inits` must be an integer"),
        ({"width": None}, "`width`"),
    ):
        given: dict[str, Any] = asked | settings
        with raises(text):
            measure_linearised(ARCH, NOISE, problem(), **given)
