"""The resummed law of a width against the exact law of that width, draw by draw."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from problems import prototypes

import theory
from theory.kernels import hidden_layers
from theory.linearised.landmarks import choose
from theory.linearised.layered import by_layers
from theory.linearised.mean_kernel import mean_diag
from theory.linearised.training_kernel import combined, moments
from theory.routes.resummed import finite_width
from theory.routes.resummed.solved import Setting, solve_side

PROBLEM = prototypes((20, 20, 20), n_test=30, d=120, spread=1.5, seed=3)
NOISE = theory.Replacement(p=0.7, noise=theory.Normal())
ARCH = theory.Architecture(depth=3, activation="relu", w_var=1.5, b_var=0.1)
WIDTH = 150


def known(array):
    assert array is not None
    return np.asarray(array)


@pytest.fixture(scope="module")
def narrow():
    return theory.resummed(ARCH, NOISE, PROBLEM, width=WIDTH)


@pytest.fixture(scope="module")
def infinite():
    return theory.resummed(ARCH, NOISE, PROBLEM)


@pytest.fixture(scope="module")
def drawn():
    """Exact laws of 20 draws, at this width and at infinite width."""
    exact = lambda width: theory.exact(
        ARCH, NOISE, PROBLEM, draws=20, key=jax.random.key(0), width=width
    )
    return exact(WIDTH), exact(None)


def test_what_a_width_changes_is_what_it_changes_of_exact_kernels(
    narrow, infinite, drawn
):
    exact, wide = drawn
    # draws have one width in common, and the law's own error, of order 1/N, as well:
    # what is left of either in the ratio is of the order of its change, a third, times
    # that error
    for law, draws in (
        (
            known(narrow.init_var).mean() / known(infinite.init_var).mean(),
            known(exact.init_var).mean(axis=1) / known(wide.init_var).mean(axis=1),
        ),
        (
            np.trace(known(narrow.kernel_cov), axis1=1, axis2=2).mean()
            / known(infinite.init_var).mean(),
            np.trace(known(exact.kernel_cov), axis1=2, axis2=3).mean(axis=1)
            / known(wide.init_var).mean(axis=1),
        ),
        (
            narrow.diagnostics["remainder"],
            known(exact.diagnostics["remainder"]),
        ),
    ):
        error = draws.std(ddof=1) / len(draws) ** 0.5
        assert abs(law / draws.mean() - 1) < 4 * error / draws.mean() + 1 / 60
        # and a width is seen
        assert abs(draws.mean() - 1) > 10 * error


# Few tests of what takes half a minute: workers that share them compute it twice.
def test_means_and_single_networks(narrow, infinite, drawn):
    # class by class what the kernel adds
    law, draws = known(narrow.kernel_cov).mean(axis=0), known(drawn[0].kernel_cov)
    draws = draws.mean(axis=1)
    error = draws.std(axis=0, ddof=1) / len(draws) ** 0.5
    scale = np.diag(draws.mean(axis=0)).mean()
    assert (np.abs(law - draws.mean(axis=0)) < 4 * error + scale / 60).all()
    # means hardly move
    spread = known(infinite.mean).std()
    np.testing.assert_allclose(narrow.mean, infinite.mean, rtol=0, atol=0.2 * spread)
    # one network has both parts
    one, labels = narrow.averaged(1), PROBLEM.labels_test
    start = known(narrow.init_var)[:, None, None] * np.eye(3)
    expected = known(narrow.cov) + start + known(narrow.kernel_cov)
    np.testing.assert_allclose(one.cov, expected, rtol=1e-10)
    assert one.accuracy(labels) < narrow.accuracy(labels)
    with raises("does not know the covariance between points"):
        one.cross.init_cov(np.array([0]), np.array([1]))


def test_a_very_wide_network_is_infinitely_wide(infinite):
    wide = theory.resummed(ARCH, NOISE, PROBLEM, width=10**9)
    # corrections are n_train/width times numbers of order ten, and a difference in s
    np.testing.assert_allclose(wide.mean, infinite.mean, atol=1e-6)
    np.testing.assert_allclose(
        known(wide.init_var), known(infinite.init_var), rtol=0, atol=1e-5
    )
    assert np.abs(known(wide.kernel_cov)).max() < 1e-5


@pytest.mark.slow
def test_other_test_points(narrow):
    again = theory.resummed_at(narrow, PROBLEM.x_test[::-1])
    for name in ("mean", "init_var", "kernel_cov"):
        expected = known(getattr(narrow, name))[::-1]
        np.testing.assert_allclose(
            known(getattr(again, name)), expected, atol=1e-8 * np.abs(expected).max()
        )


def test_too_narrow_a_network_is_in_doubt():
    law = theory.resummed(ARCH, NOISE, PROBLEM, width=15)
    assert law.diagnostics["remainder"] > 0.25
    assert "too many images for this width" in law.diagnostics["doubts"]
    assert not law.diagnostics["valid"]


def test_kernels_by_layers_mix_to_others():
    train = moments(PROBLEM.x_train, ARCH, NOISE)
    found = by_layers(lambda arch: mean_diag(train, arch), ARCH)
    mix = lambda weights: combined(found, jnp.array(weights))
    whole = mean_diag(train, ARCH)
    np.testing.assert_allclose(found.ntk, whole.ntk)
    np.testing.assert_allclose(mix([0.0, 2.0, 0.0]), 2 * whole.nngp + whole.ntk)
    np.testing.assert_allclose(mix([0.0, 0.0, 3.0]), whole.ntk + 3)
    shallow = mean_diag(train, dataclasses.replace(ARCH, depth=2))
    np.testing.assert_allclose(mix([1.0, 0.0, 0.0]), whole.ntk + shallow.nngp)


@pytest.mark.slow
def test_traces_of_a_kernel_that_is_hardly_noisy():
    # rows of unequal scale, and their own logarithms in the determinant
    few = prototypes((8, 8), n_test=5, d=30, kind="raw")
    smooth, x, one = (
        dataclasses.replace(ARCH, activation="erf"),
        few.x_train,
        jnp.ones(()),
    )
    train = moments(x, smooth, theory.Replacement(p=1e-8))
    reduced = finite_width.by_hidden_layers(smooth, choose(smooth, train, 16, one))
    setting = Setting(smooth, reduced.measured, reduced.basis, few.y, one, one)
    side = solve_side(setting, jnp.zeros(3))
    traces = finite_width._traces(setting, side, jnp.eye(3))
    layers = hidden_layers.of_points(x, smooth)
    inverse = np.linalg.inv(np.asarray(layers.whole.ntk) + np.eye(16))
    parts = [pair.nngp for pair in layers.pairs[1:]] + [np.ones((16, 16))]
    expected = [np.trace(np.asarray(part) @ inverse) for part in parts]
    np.testing.assert_allclose(traces, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"width": 0}, "`width` must be an integer of at least 1"),
        ({"width": 5, "time": 1.0}, "`width` and `time` exclude each other"),
    ],
)
def test_refusals(settings: dict[str, Any], text):
    with raises(text):
        theory.resummed(ARCH, NOISE, PROBLEM, **settings)


def test_images_without_noise_are_refused():
    with raises("`width` needs corrupted training images"):
        theory.resummed(ARCH, theory.Replacement(p=0.0), PROBLEM, width=5)


@pytest.mark.parametrize("transform", [jax.jit, jax.grad])
def test_a_trace_is_refused(transform):
    def mean(p):
        noise = theory.Replacement(p=p)
        return theory.resummed(ARCH, noise, PROBLEM, width=5).mean.sum()

    with pytest.raises(theory.InputError, match="`width` needs values"):
        transform(mean)(0.5)


@pytest.mark.slow
def test_without_hidden_layers_there_is_no_width():
    linear = dataclasses.replace(ARCH, depth=1)
    few = prototypes((8, 8), n_test=5, d=30)
    law = theory.resummed(linear, NOISE, few, width=5)
    assert law.kernel_cov is None
    np.testing.assert_array_equal(law.mean, theory.resummed(linear, NOISE, few).mean)
