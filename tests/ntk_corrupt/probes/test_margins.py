"""Margins, their scores, and probes of trained ensembles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from problems import prototypes
from scipy import special

import theory
from ntk_corrupt.curves import crossings
from ntk_corrupt.ensembles import ensemble
from ntk_corrupt.networks import mlp
from ntk_corrupt.probes import basic, margin_scores, margins
from ntk_corrupt.training.config import TrainConfig

KEY = jax.random.key(3)
NOISE = theory.Replacement(p=0.4, noise=theory.Uniform(0.0, 1.0))
PROBLEM = prototypes((8, 8, 8), n_test=40, d=30, kind="unit")
X, LABELS = PROBLEM.x_test, PROBLEM.labels_test
FIELDS: dict = {"corruption": NOISE, "x": X, "labels": LABELS}
ROUNDING = 256 * np.finfo(float).eps  # of sums of some 30 numbers of size one
# Outputs of trained networks are sums of numbers of size one, in two programs.
ROUNDING_32 = 256 * float(np.finfo(np.float32).eps)
probed = functools.partial(jax.jit, static_argnums=1)(
    lambda probe, model, params: probe(model, params, KEY)
)


def network(activation="erf", depth=2, width=16):
    arch = theory.Architecture(depth=depth, activation=activation, b_var=0.1)
    model = mlp.mlp(arch, width, 3)
    params = jax.jit(model.init)(KEY, X)
    return model, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


def measured(model, params, **settings):
    probe = margins.Margins(**(FIELDS | settings))
    return margin_scores.MeasuredMargins(**jax.device_get(probed(probe, model, params)))


def test_margin():
    outputs = np.array([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0], [2.0, 2.0, 0.0]])
    found = jax.jit(margins.margin)(outputs, np.array([1, 0, 1]))
    np.testing.assert_array_equal(found, [1.0, -2.0, 0.0])


def test_of_a_linear_network_everything_is_exact():
    # the margin between two classes is linear in the pixels: moments by hand
    arch = theory.Architecture(depth=1, activation="erf", b_var=0.1)
    model = mlp.mlp(arch, None, 2)
    rng = np.random.default_rng(1)
    w, b = rng.normal(size=(2, 30)) / 30**0.5, rng.normal(size=(1, 2))
    params = {"params": {"layer_1": {"kernel": w, "bias": b}}}
    labels = jnp.asarray(np.zeros(len(X), int))
    found = measured(model, params, labels=labels, repeats=4000)
    slope = w[0] - w[1]
    x, p = np.asarray(X), 0.4
    mean = (1 - p) * x + p / 2
    var = p * (1 - p) * (x - 0.5) ** 2 + p / 12
    close = functools.partial(np.testing.assert_allclose, rtol=ROUNDING, atol=ROUNDING)
    close(found.var, var @ slope**2)
    close(found.mid_var, found.var)
    close(found.shift, (mean - x) @ slope)
    close(found.mid_margin, found.margin + found.shift)
    # sums of 30 pixels are Gaussian to about .02 in probability
    predicted = special.ndtr(-found.scores()["mid"])
    error = 5 * 0.5 / 4000**0.5 + 0.02
    np.testing.assert_allclose(found.failure, predicted, rtol=0, atol=error)


def test_gradients_against_differences():
    model, params = network()
    found, step = measured(model, params), 1e-5

    @jax.jit
    @jax.vmap
    def moved(direction):
        ahead, behind = (
            margins.margin(model.apply(params, X + sign * step * direction), LABELS)
            for sign in (1, -1)
        )
        return (ahead - behind) / (2 * step)

    d = X.shape[1]
    slopes = np.asarray(moved(np.eye(d)[:, None])).T
    moments = jax.device_get(jax.jit(lambda noise: noise.moments(X))(NOISE))
    # roundings of margins of size one, and what is left of a third derivative of size
    # one, add up over the pixels
    atol = d * (16 * np.finfo(float).eps / step + step**2)
    expected = (slopes**2 * moments.var).sum(1)
    np.testing.assert_allclose(found.var, expected, rtol=0, atol=atol)
    expected = (slopes * (moments.mean - np.asarray(X))).sum(1)
    np.testing.assert_allclose(found.shift, expected, rtol=0, atol=atol)


def test_curvature_is_the_trace_of_the_hessian():
    model, params = network()
    found = measured(model, params, curvature_probes=3000)

    @jax.jit
    def exact_hessians(noise):
        def own(x, label):
            return margins.margin(model.apply(params, x[None]), label[None])[0]

        moments = noise.moments(X)
        return jax.vmap(jax.hessian(own))(moments.mean, LABELS), moments.var

    hessians, var = jax.device_get(exact_hessians(NOISE))
    exact = np.einsum("nii,ni->n", hessians, var) / 2
    sd = np.sqrt(var)
    scaled = hessians * sd[:, :, None] * sd[:, None, :] / 2
    off = (scaled**2).sum((1, 2)) - np.einsum("nii->ni", scaled**2).sum(1)
    # Rademacher directions: variance twice the squares off the diagonal
    error = np.sqrt(2 * off / 3000)
    assert (np.abs(found.mid_curvature - exact) < 5 * error).all()
    relu = measured(*network("relu"), curvature_probes=2)
    np.testing.assert_array_equal(relu.mid_curvature, 0)


def test_verdicts():
    rng = np.random.default_rng(0)
    n = 4000
    z = rng.standard_normal(n) + 1.0
    failed = (rng.standard_normal(n) > z).astype(float)
    found = margin_scores.MeasuredMargins(
        margin=np.where(np.arange(n) % 2, 1.0, 2.0),
        shift=np.zeros(n),
        var=np.ones(n),
        mid_margin=z,
        mid_var=np.ones(n),
        failure=failed,
    )
    verdicts = margin_scores.judge(found)
    assert set(verdicts) == {*margin_scores.SCORES, "margin"}
    assert abs(verdicts["mid"].predicted - failed.mean()) < 5 * 0.5 / n**0.5
    assert verdicts["mid"].auc > 0.8 > 0.6 > verdicts["seed"].auc
    # of m failures and n - m others, sqrt((n + 1)/(12 m (n - m))) if nothing tells
    others = failed.sum() * (n - failed.sum())
    assert abs(verdicts["seed"].auc - 0.5) < 5 * ((n + 1) / (12 * others)) ** 0.5
    assert verdicts["mid"].median == pytest.approx(np.median(z))
    # ties are averaged, a dead image has no score and is counted
    dead = found._replace(mid_var=np.where(np.arange(n) < 7, 0.0, 1.0))
    assert margin_scores.judge(dead)["mid"].dropped == 7
    flat = found._replace(mid_margin=np.ones(n))
    assert margin_scores.judge(flat)["mid"].auc == pytest.approx(0.5)
    centre, share, error = margin_scores.failures_by_score(z, failed)
    gap = (share - special.ndtr(-centre)) / np.maximum(error, 1e-3)
    # ten bins, whose mean score hides a little curvature
    assert np.abs(gap).max() < 5
    with raises("`bins` must be at most 4000"):
        margin_scores.failures_by_score(z, failed, 5000)


def test_crossover():
    strengths = np.array([0.2, 0.4, 0.6, 0.8])
    assert crossings.crossover(strengths, np.array([3, 2, 0.5, 0.1])) == pytest.approx(
        0.4 + 2 / 15
    )
    assert np.isnan(crossings.crossover(strengths, np.array([3, 2, 1.5, 1.1])))
    assert np.isnan(crossings.crossover(strengths, np.array([0.5, 0.4, 0.3, 0.2])))


CONFIG = TrainConfig(epochs=4, learning_rate=1e-2, batch_size=12)


def trained(**settings):
    arch = theory.Architecture(depth=3, activation="relu")
    return ensemble.measure(
        arch, NOISE, PROBLEM, width=16, draws=2, inits=2, key=KEY, config=CONFIG,
        **settings,
    )  # fmt: skip


def test_probes_of_an_ensemble():
    x = jnp.asarray(np.asarray(X, np.float32))
    levels = jnp.asarray(np.array([0.0, 0.4, 1.0], np.float32))
    low, high = (jnp.asarray(np.full(3, end, np.float32)) for end in (0, 1))
    asked = (
        basic.Accuracies(
            corruption=theory.Replacement(p=levels, noise=theory.Uniform(low, high)),
            x=x,
            labels=LABELS,
        ),
        basic.AliveUnits(x=x),
        basic.Kernel(x=x[:5], labels=LABELS[:5]),
        margins.Margins(corruption=NOISE, x=x, labels=LABELS, repeats=2),
    )
    plain, found = trained(), trained(probes=asked)
    np.testing.assert_array_equal(plain.outputs, found.outputs)
    said = found.diagnostics
    assert said["accuracy_corrupted"].shape == (2, 2, 3)
    clean = np.asarray(found.accuracies(LABELS, inits=1))
    np.testing.assert_allclose(
        said["accuracy_corrupted"][..., 0].mean(1), clean, atol=1e-6
    )
    assert said["alive"].shape == (2, 2, 2)
    assert ((said["alive"] > 0) & (said["alive"] <= 1)).all()
    assert said["ntk_trace"].shape == said["ntk_true"].shape == (2, 2, 5, 5)
    outputs, labels = np.asarray(found.outputs).reshape(-1, 3), np.tile(LABELS, 4)
    rivals = np.where(np.arange(3) == labels[:, None], -np.inf, outputs).max(axis=1)
    own = outputs[np.arange(len(labels)), labels] - rivals
    np.testing.assert_allclose(said["margin"].ravel(), own, atol=ROUNDING_32)
    # Members of blocks of another size are the same. Their training is another program:
    # Adam divides by gradients, so that roundings of small ones grow.
    again = trained(probes=asked, member_block=3).diagnostics
    for name, part in said.items():
        off = np.abs(np.asarray(again[name], float) - np.asarray(part, float))
        if name in ("accuracy_corrupted", "failure"):
            # an image at the border may be on its other side
            assert off.reshape(4, -1).mean(axis=1).max() <= 1 / len(x), name
        else:
            atol = 8 * ROUNDING_32 * max(1, np.abs(part).max())
            np.testing.assert_array_less(off, atol, err_msg=name)


def test_dead_units_are_counted():
    model, params = network("relu", width=4)
    layer = params["params"]["layer_1"]
    layer["bias"] = np.array([[0.0, -1e3, 0.0, -1e3]])
    alive = probed(basic.AliveUnits(x=X), model, params)["alive"]
    np.testing.assert_array_equal(alive, [0.5])
    # no hidden layer
    linear, params = network(depth=1)
    assert probed(basic.AliveUnits(x=X), linear, params)["alive"].shape == (0,)
