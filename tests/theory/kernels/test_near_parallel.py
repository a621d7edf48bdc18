"""Entries of nearly parallel points, tiny and huge ones, against 60 digits."""

import jax.numpy as jnp
import numpy as np
import pytest

import theory
from benchmarks import precision

# What is lost where the angle of .044 is taken for large, 1/.044 roundings in each of
# two layers, and an eighth of a margin; without gaps 1/1e-5 of them are lost at least.
_LARGEST = 200


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [n for n in precision.NAMES if n != "gelu"])
def test_every_distance_and_scale(name, dtype):
    for scale in (1e-15, 1.0, 1e15):
        if name == "step" and dtype == "float32" and scale < 1:
            continue  # squares of distances are below the range
        errors = [precision.error(name, 3, dtype, scale, g) for g in precision.GAPS]
        assert max(errors) < _LARGEST, (scale, errors)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gelu_keeps_half_of_the_digits_where_it_is_all_kink(dtype):
    eps = float(jnp.finfo(dtype).eps)
    for scale, most in ((1e-15, _LARGEST), (1.0, _LARGEST), (1e15, eps**-0.5)):
        errors = [precision.error("gelu", 3, dtype, scale, g) for g in precision.GAPS]
        assert max(errors) < most, (scale, errors)


def test_deep_rectifiers():
    # of 62 layers products of variances leave the range of float32
    for depth, scale in ((62, 1.0), (62, 1e-15), (200, 1.0)):
        errors = [
            precision.error("relu", depth, "float32", scale, gap) for gap in (0.1, 1e-5)
        ]
        assert max(errors) < 20 * depth, (depth, scale, errors)


def test_tiny_points_apart_by_the_bias_alone():
    # step takes an angle to its square root: the error of a distance, 1e-16/1e-12 where
    # norms are subtracted, is seen
    errors = [precision.error("step", 10, "float64", 1e-15, g) for g in precision.GAPS]
    assert max(errors) < 1e5, errors


def test_points_on_one_line():
    # one pixel: the angle to each other comes from the bias alone
    x = jnp.linspace(500.0, 501.0, 5, dtype=jnp.float32)[:, None]
    arch = theory.Architecture(
        depth=3, activation="relu", w_var=jnp.float32(1.7), b_var=jnp.float32(0.1)
    )
    found = theory.gram(x, arch).ntk
    for one, two in ((0, 1), (0, 4), (2, 3)):
        pair = np.asarray(x)[[one, two]]
        right = float(precision.entry("relu", pair, arch)[1])
        assert float(found[one, two]) == pytest.approx(right, rel=5e-6)


def test_coinciding_points_are_as_on_the_diagonal():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 7)))
    arch = theory.Architecture(depth=4, activation="relu", w_var=2.0, b_var=0.1)
    crossed, own = theory.nngp_ntk(x, x, arch), theory.nngp_ntk_diag(x, arch)
    for kind in ("nngp", "ntk"):
        np.testing.assert_allclose(
            np.diag(getattr(crossed, kind)), getattr(own, kind), rtol=1e-14
        )
