"""Networks of finite width by the exact route; networks themselves: test_linearised."""

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
from theory.outputs.law import OutputLaw

PROBLEM = prototypes((8, 7, 6), n_test=9)
NOISE = theory.Replacement(p=0.5, noise=theory.Normal())
KEY = jax.random.key(2)


def architecture(depth=2, activation="erf"):
    return theory.Architecture(depth=depth, activation=activation, w_var=1.5, b_var=0.1)


def known(array):
    assert array is not None
    return np.asarray(array)


def measure(arch=None, **settings: Any):
    arch = architecture() if arch is None else arch
    asked: dict[str, Any] = {"draws": 1} | settings
    return theory.exact(arch, NOISE, PROBLEM, key=KEY, **asked)


def total(draws):
    """Variance over initialisations, mean over classes."""
    shared = np.trace(known(draws.kernel_cov), axis1=-2, axis2=-1)
    return known(draws.init_var) + shared / draws.outputs.shape[-1]


@pytest.mark.parametrize("depth", [2, 4])
def test_a_very_wide_network_is_infinitely_wide(depth):
    arch = architecture(depth, "relu")
    wide, infinite = measure(arch, width=10**8), measure(arch)
    # corrections are n_train/width times numbers of order ten
    np.testing.assert_allclose(wide.outputs, infinite.outputs, atol=1e-5)
    np.testing.assert_allclose(total(wide), known(infinite.init_var), atol=1e-5)
    assert infinite.kernel_cov is None


def test_narrow_networks_remove_more_of_their_start():
    found = [known(measure(width=width).init_var).mean() for width in (200, 50, 20)]
    assert found[0] > found[1] > found[2]
    ratio = known(measure(width=20).diagnostics["remainder"])
    assert 0 < ratio[0] < 1


def test_without_hidden_layers_there_is_no_width():
    arch = theory.Architecture(depth=1, activation="erf", w_var=1.5, b_var=0.1)
    one, other = measure(arch, width=3), measure(arch)
    np.testing.assert_array_equal(one.outputs, other.outputs)
    assert one.kernel_cov is None


def test_means_alone():
    whole, alone = measure(width=40), measure(width=40, with_init_var=False)
    np.testing.assert_allclose(alone.outputs, whole.outputs, rtol=1e-9)
    assert alone.init_var is None
    assert alone.kernel_cov is None


def test_a_ridge_is_added():
    # so large that nothing is learned: the start is left, whatever the width
    arch = architecture(3)
    found = measure(arch, width=30, ridge=1e8)
    prior = theory.nngp_ntk_diag(PROBLEM.x_test, arch).nngp
    np.testing.assert_allclose(known(found.init_var)[0], prior, rtol=1e-5)
    np.testing.assert_allclose(found.outputs, 0.0, atol=1e-5)


def test_remainder_against_sampled_units():
    """(W8) at depth 2: what one unit adds to the kernel, drawn and put in."""
    arch, width, units = architecture(), 10**7, 20_000
    found = measure(arch, width=width)
    part = known(found.diagnostics["remainder"])[0] * total(found).mean() * width

    x = np.asarray(theory.corrupt(NOISE, KEY, 0, PROBLEM.x_train))
    every = jnp.concatenate([jnp.asarray(x), PROBLEM.x_test])
    n, y = len(x), np.asarray(PROBLEM.y)
    both = hidden_layers.of_points(every, arch)
    ntk = np.asarray(both.whole.ntk)
    weights = np.linalg.solve(ntk[:n, :n], y)
    rows = np.linalg.solve(ntk[:n, :n], ntk[:n, n:])
    residual = np.concatenate([-rows.T, np.eye(len(every) - n)], axis=1)
    below, d = np.asarray(both.pairs[0].ntk), every.shape[1]
    rng = np.random.default_rng(0)
    u = np.asarray(every) @ rng.normal(0, (1.5 / d) ** 0.5, (d, units))
    u = u + rng.normal(0, 0.1**0.5, (1, units))
    slope = 2 / np.pi**0.5 * np.exp(-(u**2))
    # r (psi psi^T o Theta_1) alpha for every test point, unit and class
    right = np.einsum("ab,bu,bc->auc", below[:, :n], slope[:n], weights)
    each = 1.5 * np.einsum("ta,au,auc->tuc", residual, slope, right)
    squares = (each**2).mean(axis=1)
    # readouts a_c a_k, k summed over classes, less the mean
    sampled = squares.sum(axis=1, keepdims=True) + 2 * squares
    sampled = (sampled - each.mean(axis=1) ** 2).mean()
    assert part == pytest.approx(sampled, rel=0.2)


def test_accuracy_of_one_network_is_that_of_sampled_ones():
    draws = measure(width=25)
    mean, own = known(draws.outputs)[0, 0], known(draws.init_var)[0]
    cov = known(draws.kernel_cov)[0] + own[:, None, None] * np.eye(3)[None]
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(cov)
    samples = mean[None] + np.einsum(
        "nij,snj->sni", root, rng.standard_normal((40_000, *mean.shape))
    )
    labels = np.asarray(PROBLEM.labels_test)
    right = (samples.argmax(axis=-1) == labels[None]).mean()
    found = draws.accuracy(PROBLEM.labels_test, inits=1)
    assert found == pytest.approx(right, abs=5 * 0.5 / (40_000 * 9) ** 0.5 + 1e-3)
    without = dataclasses.replace(draws, kernel_cov=None)
    assert abs(without.accuracy(PROBLEM.labels_test, inits=1) - found) > 1e-4


def test_the_law_of_several_draws():
    draws = measure(width=25, draws=3)
    law = draws.law()
    np.testing.assert_allclose(law.kernel_cov, known(draws.kernel_cov).mean(axis=0))
    one, many = law.averaged(1), law.averaged(10**6)
    added = known(law.kernel_cov) + known(law.init_var)[:, None, None] * np.eye(3)[None]
    np.testing.assert_allclose(one.cov - law.cov, added, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(many.cov, law.cov, atol=1e-6)
    # of the kernel's own share nothing is known between points
    with raises("does not know the covariance between points"):
        one.cross_cov(np.array([0]), np.array([1]))
    with raises("does not know the covariance between points"):
        one.cross_cov(np.array([0]), np.array([0]))


def test_files(tmp_path):
    draws = measure(width=25, draws=2)
    for saved, cls in ((draws, theory.Draws), (draws.law(), OutputLaw)):
        path = tmp_path / f"{cls.__name__}.npz"
        saved.save(path)
        loaded = cls.load(path)
        np.testing.assert_array_equal(loaded.kernel_cov, saved.kernel_cov)
    wrong = dataclasses.replace(draws, kernel_cov=-known(draws.kernel_cov))
    wrong.save(tmp_path / "wrong.npz")
    with raises("`kernel_cov` must be positive semidefinite"):
        theory.Draws.load(tmp_path / "wrong.npz")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"width": 0}, "`width` must be an integer of at least 1"),
        ({"width": 1.5}, "`width` must be an integer"),
        ({"width": 20, "time": 3.0}, "`width` and `time` exclude each other"),
    ],
)
def test_refusals(settings, text):
    with raises(text):
        measure(**settings)


@pytest.mark.parametrize("transform", [jax.jit, jax.grad])
def test_a_trace_is_refused(transform):
    def accuracy(w_var):
        arch = dataclasses.replace(architecture(), w_var=w_var)
        return measure(arch, width=20).outputs.sum()

    with pytest.raises(theory.InputError, match="`width` needs values"):
        transform(accuracy)(1.5)
