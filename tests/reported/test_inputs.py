"""Inputs that people reported to other projects: the right value here, or a refusal.

Sources are named as repository#number.
"""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from flax import linen as nn
from problems import prototypes

import theory
from ntk_corrupt import ensembles, label_noise, training
from ntk_corrupt.kernels import empirical
from ntk_corrupt.networks import mlp
from ntk_corrupt.rbm import classifiers
from ntk_corrupt.rbm.machine import fit

ARCH = theory.Architecture(depth=2, activation="erf")
BYTES = np.random.default_rng(0).integers(0, 256, (3, 40)).astype(np.uint8)
PROBLEM = prototypes((4, 4), n_test=4, d=6, spread=1.0, seed=0)
KEY = jax.random.key(0)


def by_hand(x):
    """The NTK of ARCH, in NumPy."""
    x = x.astype(float)
    k = x @ x.T / x.shape[1]
    q = np.diag(k)
    whole = np.sqrt(np.outer(1 + 2 * q, 1 + 2 * q))
    root = np.sqrt(np.maximum(whole**2 - 4 * k**2, 1e-300))
    return 2 / np.pi * np.arcsin(2 * k / whole) + 4 / np.pi / root * k


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "bool"])
def test_whole_numbers_in_kernels(dtype):
    # scipy#10262, sklearn#28827: sums in the dtype of the bytes wrap
    x = (BYTES > 127) if dtype == "bool" else (BYTES // 2).astype(dtype)
    right = by_hand(x)
    for given in (x, jnp.asarray(x)):
        for found in (
            theory.nngp_ntk(given, given, ARCH).ntk,
            theory.ntk(given, given, ARCH),
            theory.gram(given, ARCH).ntk,
            theory.ntk_gram(given, ARCH),
            theory.ntk_product(given, given, jnp.eye(3), ARCH),
            theory.gram_product(given, jnp.eye(3), ARCH),
        ):
            np.testing.assert_allclose(found, right, rtol=1e-10)
        np.testing.assert_allclose(
            theory.nngp_ntk_diag(given, ARCH).ntk, np.diag(right), rtol=1e-10
        )


def test_single_precision_by_default():
    # whole numbers beyond 32 bits, and float64 without x64, in the default dtype
    code = """
import warnings, numpy as np, theory
warnings.simplefilter("error")
arch = theory.Architecture(depth=1, activation="erf")
large = np.array([[3_000_000_000, 1]])
print(float(theory.nngp(large, large, arch)[0, 0]) / (large.astype(float)**2).mean())
print(theory.nngp(large / 1e9, large / 1e9, arch).dtype)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    ratio, dtype = run.stdout.split()
    assert float(ratio) == pytest.approx(1, rel=1e-6)
    assert dtype == "float32"


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_in_kernels(dtype):
    # jax#38825: an internal KeyError
    x = jnp.asarray(BYTES / 100, dtype)
    found = theory.ntk_gram(x, ARCH)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, by_hand(np.asarray(x, float)), rtol=1e-5)


def test_what_is_no_point_is_refused():
    call: Any = theory.ntk_gram
    for x, text in (
        ([[1.0, 2.0], [3.0]], "`x` must be an array (n, d), got rows of several"),
        (np.array([["a"]]), "`x` must hold real numbers"),
        (np.ones((2, 2), complex), "`x` must hold real numbers, got complex128"),
        (np.array([[np.nan, 1.0]]), "`x` must be finite, got NaN or infinity"),
        (np.array([[np.inf, 1.0]]), "`x` must be finite"),
        (np.ones(3), "`x` must be an array (n, d), got shape (3,)"),
    ):
        with raises(text):
            call(x, ARCH)
    rows = [[1, 2], [3, 4]]
    np.testing.assert_allclose(call(rows, ARCH), call(np.array(rows), ARCH))


@pytest.mark.parametrize(
    "corruption",
    [
        theory.Replacement(p=1.0),
        theory.Additive(p=1.0),
        theory.ClippedAdditive(sigma=0.9),
    ],
)
def test_bytes_are_not_corrupted(corruption):
    # torchvision#9148, toflow#21: noise cut to bytes is another noise
    for x in (BYTES, BYTES > 127):
        with raises("`x` must be floating point, got"):
            theory.corrupt(corruption, KEY, 0, jnp.asarray(x))


def test_corruptions_are_checked_where_they_are_used():
    x = jnp.ones((2, 3))
    for call, text in (
        (lambda: theory.corrupt(theory.Replacement(p=2.0), KEY, 0, x), "`p` must be a"),
        (lambda: theory.corrupt(theory.Additive(p=0.5), KEY, -1, x), "`draw` must be"),
        (
            lambda: theory.corrupt_copies(theory.Additive(p=0.5), KEY, 0, x, 0),
            "`copies` must be an integer of at least 1, got 0",
        ),
        (
            lambda: theory.corrupt(theory.ClippedAdditive(sigma=0.5), KEY, 0, 3 * x),
            "ClippedAdditive needs pixels in [0, 1]",
        ),
    ):
        with raises(text):
            call()


def test_architectures_are_checked():
    cases: Any = (
        ({"w_var": np.inf}, "`w_var` must be positive and finite, got inf"),
        ({"b_var": np.inf}, "`b_var` must be finite and not negative, got inf"),
        (
            {"w_rates": (0.0, 0.0), "b_rates": (0.0, 0.0)},
            "`w_rates` and `b_rates` must not all be zero",
        ),
        ({"depth": True}, "`depth` must be an integer, got True"),
    )
    base: dict[str, Any] = {"depth": 2, "activation": "erf"}
    for settings, text in cases:
        with raises(text):
            theory.Architecture(**(base | settings)).check()
    depth: Any = np.int64(3)
    theory.Architecture(depth=depth, activation="erf").check()


def test_small_labels_do_not_wrap():
    # cleanlab#977, DivideMix#29
    for classes, dtype in ((256, jnp.uint8), (128, jnp.int8), (200, jnp.uint8)):
        labels = jnp.arange(classes).astype(dtype)
        found = label_noise.corrupt_labels(labels, 1.0, classes, mode="next", key=KEY)
        assert found.dtype == dtype
        np.testing.assert_array_equal(
            np.asarray(found, int), (np.arange(classes) + 1) % classes
        )
    with raises("`labels` must lie in 0 ... 2, got 0 ... 3"):
        label_noise.corrupt_labels(jnp.arange(4), 0.5, 3, key=KEY)
    call: Any = label_noise.corrupt_labels
    with raises("`labels` must be integers, got float"):
        call(jnp.arange(4.0), 0.5, 4, key=KEY)


class Widths(nn.Module):
    features: Sequence[int]

    @nn.compact
    def __call__(self, x):
        for width in self.features[:-1]:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.features[-1])(x)


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.BatchNorm(use_running_average=False)(x))


class Dropped(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.Dropout(0.5, deterministic=False)(x))


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (Widths([3, 2]), "the attributes of Widths must be hashable: use tuples"),
        (Normalised(), "Normalised must have no state beside its parameters"),
        (Dropped(), "Dropped must need no random numbers beside its parameters"),
        (Widths((3, 1)), "Widths must map (n, 6) to (n, 2), an output for each class"),
    ],
)
def test_networks_of_a_users_own(network, text):
    # flax#4156, flax#1039, flax#587
    settings: Any = {"draws": 1, "inits": 1, "key": KEY}
    config = training.TrainConfig(epochs=1, batch_size=4)
    measure = lambda network: ensembles.measure(
        network, theory.Replacement(p=0.5), PROBLEM, config=config, **settings
    )
    with raises(text):
        measure(network)
    assert measure(Widths((3, 2))).outputs.shape == (1, 1, 4, 2)


def test_no_tracer_leaks():
    # jax#3086, quax#68
    x = jnp.asarray(BYTES[:, :4] / 255, jnp.float32)
    network = mlp.mlp(ARCH, 3, 2)
    params = network.init(KEY, x)
    expected = np.asarray(empirical.ntk(network, params, x))
    with jax.checking_leaks():
        jax.clear_caches()
        found = empirical.ntk(network, params, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_binary_images_in_the_boltzmann_machine(dtype):
    # sklearn#9694
    x = (np.random.default_rng(0).uniform(size=(40, 6)) < 0.5).astype(dtype)
    settings: Any = {"components": 3, "k": 1, "learning_rate": 0.1, "batch_size": 10}
    machine, found = fit(KEY, jnp.asarray(x), epochs=2, **settings)
    floats = jnp.asarray(x).astype(float)
    _, expected = fit(KEY, floats, epochs=2, **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    config = classifiers.RbmConfig(components=3, epochs=2, batch_size=10)
    pipeline = classifiers.features_and_classifier(
        "rbm_cd", x, x[:, 0].astype(int), config=config
    )
    np.testing.assert_array_equal(
        pipeline.predict(x), pipeline.predict(np.asarray(floats))
    )
