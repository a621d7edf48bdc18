"""Solves against dense algebra, and what their diagnostics see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers import assert_close

from theory import kernels, solve
from theory.errors import NumericalError
from theory.problem import Architecture

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 5))
Y = RNG.standard_normal((12, 3))


def kernel_of(x, activation="relu"):
    arch = Architecture(depth=3, activation=activation, w_var=1.5, b_var=0.1)
    return np.asarray(kernels.gram(jnp.asarray(x), arch).ntk)


KERNEL = kernel_of(X)
KERNEL_J, Y_J = jnp.asarray(KERNEL), jnp.asarray(Y)


def check(margin, x=X, *, flow=False, ridge=0.0):
    solve.check(float(margin), jnp.asarray(x), flow=flow, ridge=ridge)


# --- inverse -------------------------------------------------------------------


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_inverse(ridge, transform):
    weights = transform(lambda k, y, r: solve.inverse(k, r).apply(y))(
        KERNEL_J, Y_J, ridge
    )
    # condition 1e2: two digits
    expected = np.linalg.solve(KERNEL + ridge * np.eye(12), Y)
    assert_close(np.asarray(weights), expected)
    residual = (KERNEL + ridge * np.eye(12)) @ np.asarray(weights) - Y
    assert np.abs(residual).max() < 1e-12


def test_inverse_reads_the_lower_half():
    assert_close(
        solve.inverse(jnp.tril(KERNEL_J), 0.1).apply(Y_J),
        solve.inverse(KERNEL_J, 0.1).apply(Y_J),
    )


def test_margin_of_the_inverse():
    # pivot k over its diagonal entry: the share of row k that rows before do not span
    shares = []
    for k in range(12):
        rest = KERNEL[:k, k] @ np.linalg.solve(KERNEL[:k, :k], KERNEL[:k, k])
        shares.append(1 - rest / KERNEL[k, k])
    assert_close(np.asarray(solve.inverse(KERNEL_J, 0.0).margin), np.array(min(shares)))
    check(min(shares))


@pytest.mark.parametrize(
    "kernel", [KERNEL - 2 * np.eye(12), np.diag([1.0] * 11 + [-1e-3])]
)
def test_indefinite(kernel):
    margin = solve.inverse(jnp.asarray(kernel), 0.0).margin
    assert not margin > 0
    with pytest.raises(
        NumericalError, match=r"of 12 training images in float64 is ind"
    ):
        check(margin)
    margin = solve.gradient_flow(jnp.asarray(kernel), jnp.asarray(1.0)).margin
    with pytest.raises(NumericalError, match="indefinite"):
        check(margin, flow=True)


def test_near_singular():
    # five inputs, a linear kernel of twelve points without biases
    kernel = X @ X.T + 1e-16 * np.eye(12)
    margin = solve.inverse(jnp.asarray(kernel), 0.0).margin
    with pytest.raises(
        NumericalError, match=r"pass `ridge`, or use an activation or a"
    ):
        check(margin)
    # gradient flow needs no inverse
    margin = solve.gradient_flow(jnp.asarray(kernel), jnp.asarray(1.0)).margin
    assert abs(margin) < 1e-14
    check(margin, flow=True)
    # and a ridge cures it, if it is large enough
    check(solve.inverse(jnp.asarray(kernel), 0.1).margin, ridge=0.1)
    margin = solve.inverse(jnp.asarray(kernel), 1e-15).margin
    with pytest.raises(NumericalError, match=r"raise `ridge` \(now 1e-15\), or use an"):
        check(margin, ridge=1e-15)


def test_margin_and_floor_are_in_the_message():
    with pytest.raises(NumericalError, match=r"margin 1\.5e-16, rounding 2\.7e-15\)"):
        check(1.5e-16)
    check(2.8e-15)  # just above the floor of 12 eps


@pytest.mark.parametrize("margin", [float("nan"), -1.0, 0.0])
@pytest.mark.parametrize("flow", [False, True])
def test_what_is_not_above_the_floor_is_refused(margin, flow):
    if flow and margin == 0.0:
        check(margin, flow=True)
        return
    with pytest.raises(NumericalError, match="indefinite"):
        check(margin, flow=flow)


# --- causes --------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["erf", "relu", "gelu"])
@pytest.mark.parametrize("seed", range(5))
def test_a_duplicate_is_seen_and_named(activation, seed):
    # a kink must not hide it behind the square root of rounding
    x = np.random.default_rng(seed).standard_normal((12, 100))
    x[7] = x[3]
    margin = solve.inverse(jnp.asarray(kernel_of(x, activation)), 0.0).margin
    with pytest.raises(
        NumericalError, match=r"images 3 and 7 are identical: remove the duplicates or "
    ):
        check(margin, x)
    check(solve.inverse(jnp.asarray(kernel_of(x)), 0.1).margin, x, ridge=0.1)


def test_duplicates_are_counted():
    x = X.copy()
    x[7], x[9], x[1] = x[3], x[3], x[0]
    with pytest.raises(
        NumericalError, match=r"images 0 and 1 are identical \(3 duplicates in all\): r"
    ):
        check(0.0, x)
    with pytest.raises(
        NumericalError, match=r"duplicates or raise `ridge` \(now 1e-17"
    ):
        check(0.0, x, ridge=1e-17)


def test_float32_is_the_cause():
    # margins of 1e-6 to 1e-13: nothing in float64, too little in float32
    x = np.linspace(-1, 1, 12)[:, None] * [1.0, 0.5]
    arch = Architecture(depth=3, activation="erf", w_var=1.5, b_var=0.1)
    for dtype, ok in ((np.float64, True), (np.float32, False)):
        points = jnp.asarray(0.3 * x[:6] + 1, dtype)
        margin = solve.inverse(kernels.gram(points, arch).ntk, 0.0).margin
        assert margin.dtype == dtype
        if ok:
            check(margin, points)
            continue
        with pytest.raises(
            NumericalError, match=r"in float32 is .*float64 is needed: enable x64, or"
        ):
            check(margin, points)


# --- gradient flow -------------------------------------------------------------


@pytest.mark.parametrize("time", [0.0, 0.02, 1.0, 50.0])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_gradient_flow(time, transform):
    weights = transform(lambda k, y, t: solve.gradient_flow(k, t).apply(y))(
        KERNEL_J, Y_J, jnp.asarray(time)
    )
    left = scipy.linalg.expm(-KERNEL * time)
    assert_close(
        np.asarray(weights), np.linalg.solve(KERNEL, (np.eye(12) - left) @ Y), rtol=1e-9
    )


def test_gradient_flow_ends_at_the_inverse():
    end = solve.gradient_flow(KERNEL_J, jnp.asarray(1e6)).apply(Y_J)
    assert_close(end, solve.inverse(KERNEL_J, 0.0).apply(Y_J))


def test_gradient_flow_starts_along_the_targets():
    start = solve.gradient_flow(KERNEL_J, jnp.asarray(1e-9)).apply(Y_J)
    # 1e-9 times the largest eigenvalue, 20, to first order
    assert_close(start / 1e-9, Y_J, rtol=0, atol=1e-6)


def test_gradient_flow_where_nothing_is_learned():
    kernel = jnp.diag(jnp.array([2.0, 0.0, 1e-300]))
    weights = solve.gradient_flow(kernel, jnp.asarray(3.0)).apply(jnp.ones((3, 1)))
    expected = jnp.array([[(1 - np.exp(-6.0)) / 2], [3.0], [3.0]])
    assert_close(weights, expected)


def test_margin_of_gradient_flow():
    values = np.linalg.eigvalsh(KERNEL)
    margin = solve.gradient_flow(KERNEL_J, jnp.asarray(1.0)).margin
    assert_close(np.asarray(margin), values[0] / values[-1])
    check(margin, flow=True)


@pytest.mark.parametrize("method", [solve.inverse, solve.gradient_flow])
def test_dtype_is_kept(method):
    smoother = method(KERNEL_J.astype(jnp.float32), jnp.float32(0.5))
    weights = smoother.apply(Y_J.astype(jnp.float32))
    expected = method(KERNEL_J, jnp.asarray(0.5)).apply(Y_J)
    # condition 1e2 in float32
    assert_close(weights, expected.astype(jnp.float32), rtol=1e-3, atol=1e-4)
