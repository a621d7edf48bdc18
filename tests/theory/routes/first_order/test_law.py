"""The law as a whole: accuracy of draws, precision, compilation, and refusals."""

import dataclasses

import jax
import numpy as np
from closeness import raises
from first_order_cases import NOISES, POINTS, PROBLEMS, ROUNDING
from problems import prototypes

from theory import exact
from theory.activations import closed_forms, registry
from theory.corruption import noises
from theory.corruption.corruptions import ClippedAdditive, Replacement
from theory.kernels.architecture import Architecture
from theory.routes.first_order.law import first_order


def test_accuracy_where_the_law_holds():
    # N << d and eps -> 0: 40 draws of the exact kernel
    problem = prototypes((15, 15, 15, 15), n_test=POINTS, d=2000, spread=2.0, seed=5)
    arch = Architecture(depth=2, activation="erf")
    noise = Replacement(p=0.96)
    law = first_order(arch, noise, problem)
    draws = exact(
        arch,
        noise,
        problem,
        draws=40,
        key=jax.random.key(0),
        with_init_var=False,
    )
    accuracy, stderr = (
        fn(problem.labels_test) for fn in (draws.accuracy, draws.stderr)
    )
    assert 0.5 < accuracy < 0.9
    # .01: N/d = .03 and eps = .04 are small, not zero
    assert abs(law.accuracy(problem.labels_test) - accuracy) < 5 * stderr + 0.01
    # the spread of what decisions see, and the mean
    measured = draws.law()
    ratio = np.sqrt(measured.gap_variance().mean() / law.gap_variance().mean())
    # 5 standard errors of 40 draws of 98 points, were these independent: .04
    np.testing.assert_allclose(ratio, 1, atol=0.05)
    centred = [m - m.mean(axis=1, keepdims=True) for m in (law.mean, measured.mean)]
    slope = (centred[0] * centred[1]).sum() / (centred[0] ** 2).sum()
    np.testing.assert_allclose(slope, 1, atol=0.15)


def test_single_networks_are_not_known():
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    law = first_order(
        arch, Replacement(p=0.9, noise=NOISES["uniform"]), PROBLEMS["balanced"]
    )
    assert law.init_var is None
    with raises("`averaged` needs `init_var`"):
        law.averaged(10)


def test_float32_stays_float32():
    arch = Architecture(depth=3, activation="erf", w_var=1.4, b_var=0.1)
    noise, problem = Replacement(p=0.9, noise=NOISES["skew"]), PROBLEMS["unbalanced"]
    single = first_order(arch, noise, problem.astype(np.float32))
    double = first_order(arch, noise, problem)
    for name in ("mean", "cov", "gain", "offset", "noise_std"):
        one, two = getattr(single, name), getattr(double, name)
        assert one.dtype == np.float32, name
        scale = np.abs(two).max()
        # 600 terms in float32, of which half may be left: 1.4e-4
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-3 * scale)


def test_a_sweep_of_the_level_compiles_once():
    calls = []

    def counting(fn):
        return lambda *args: (calls.append(fn), fn(*args))[1]

    erf = registry.get("erf")
    dual = closed_forms.ClosedForm(counting(erf.dual.pair), counting(erf.dual.diag))
    arch = Architecture(depth=2, activation=registry.Activation("e", erf.fn, dual))
    means, traced = [], []
    for p in (0.9, 0.95, 1.0):
        noise = Replacement(p=p, noise=NOISES["skew"])
        means.append(first_order(arch, noise, PROBLEMS["balanced"]).mean)
        traced.append(len(calls))
    assert traced[0] > 0
    assert traced == traced[:1] * 3
    middle = (np.asarray(means[0]) + means[2]) / 2
    np.testing.assert_allclose(means[1], middle, rtol=0, atol=ROUNDING)


def test_what_has_no_level_is_refused():
    arch = Architecture(depth=3, activation="erf")
    text = (
        "`corruption` of first_order must end in pure noise, about which it expands, "
        "and ClippedAdditive does not: use Replacement"
    )
    with raises(text):
        first_order(arch, ClippedAdditive(sigma=0.3), PROBLEMS["missing"])


def test_bad_arguments_are_refused():
    good, noise = PROBLEMS["balanced"], Replacement(p=0.9)
    with raises("`p` must be a corruption level in [0, 1], got 1.5"):
        first_order(Architecture(depth=3, activation="erf"), Replacement(p=1.5), good)
    with raises("`depth` must be at least 1 (a linear model), got 0"):
        first_order(Architecture(depth=0, activation="erf"), noise, good)
    with raises("step has no NTK"):
        first_order(Architecture(depth=2, activation="step"), noise, good)
    bad = dataclasses.replace(good, labels_test=good.labels_test + 1)
    with raises("`labels_test` must lie in 0 ... 3 (`num_classes` is 4), got 4"):
        first_order(Architecture(depth=2, activation="erf"), noise, bad)
    with raises("`prob` of Bernoulli must be in [0, 1], got 2.0"):
        first_order(
            Architecture(depth=2, activation="erf"),
            Replacement(p=0.9, noise=noises.Bernoulli(2.0)),
            good,
        )
