"""Solves against dense algebra, and what their diagnostics see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from problems import erf_kernels

from theory.errors import NumericalError
from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.numerics import solve

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 5))
Y = RNG.standard_normal((12, 3))


def kernel_of(x, activation="relu"):
    if activation == "erf":
        return erf_kernels(x, x, 3, w_var=1.5, b_var=0.1)[1]
    arch = Architecture(depth=3, activation=activation, w_var=1.5, b_var=0.1)
    return np.asarray(matrices.gram(jnp.asarray(x), arch).ntk)


KERNEL = kernel_of(X)
KERNEL_J, Y_J = jnp.asarray(KERNEL), jnp.asarray(Y)
# n eps times the condition of 53, of weights of at most six.
EPS = float(np.finfo(float).eps)
SOLVED = 12 * EPS * float(np.linalg.cond(KERNEL)) * 6


@jax.jit
def inverse(kernel, y, ridge):
    """Weights and margin, in one program."""
    found = solve.inverse(kernel, ridge)
    return found.apply(y), found.margin


@jax.jit
def flow(kernel, y, time):
    found = solve.gradient_flow(kernel, time)
    return found.apply(y), found.margin


def margin_of(method, kernel, strength):
    """Margin alone: without weights, so that all kernels of a size share programs."""
    return method(jnp.asarray(kernel), jnp.zeros_like(kernel[:, :3]), strength)[1]


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=SOLVED)


def check(margin, x=X, *, flow=False, ridge=0.0):
    solve.check(float(margin), jnp.asarray(x), flow=flow, ridge=ridge)


# --- inverse -------------------------------------------------------------------


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_inverse(ridge, transform):
    weights = transform(lambda k, y, r: solve.inverse(k, r).apply(y))(
        KERNEL_J, Y_J, ridge
    )
    close(weights, np.linalg.solve(KERNEL + ridge * np.eye(12), Y))
    residual = (KERNEL + ridge * np.eye(12)) @ np.asarray(weights) - Y
    # backward stable: n^2 eps of entries of six times weights of six
    assert np.abs(residual).max() < 144 * EPS * 36


def test_inverse_reads_the_lower_half():
    close(inverse(np.tril(KERNEL), Y, 0.1)[0], inverse(KERNEL, Y, 0.1)[0])


def test_margin_of_the_inverse():
    # pivot k over its diagonal entry: the share of row k that rows before do not span
    shares = []
    for k in range(12):
        rest = KERNEL[:k, k] @ np.linalg.solve(KERNEL[:k, :k], KERNEL[:k, k])
        shares.append(1 - rest / KERNEL[k, k])
    close(margin_of(inverse, KERNEL, 0.0), min(shares))
    check(min(shares))


@pytest.mark.parametrize(
    "kernel", [KERNEL - 2 * np.eye(12), np.diag([1.0] * 11 + [-1e-3])]
)
def test_indefinite(kernel):
    margin = margin_of(inverse, kernel, 0.0)
    assert not margin > 0
    with pytest.raises(
        NumericalError, match=r"of 12 training images in float64 is ind"
    ):
        check(margin)
    margin = margin_of(flow, kernel, 1.0)
    with pytest.raises(NumericalError, match="indefinite"):
        check(margin, flow=True)


def test_near_singular():
    # five inputs, a linear kernel of twelve points without biases
    kernel = X @ X.T + 1e-16 * np.eye(12)
    margin = margin_of(inverse, kernel, 0.0)
    with pytest.raises(
        NumericalError, match=r"pass `ridge`, or use an activation or a"
    ):
        check(margin)
    # gradient flow needs no inverse
    margin = margin_of(flow, kernel, 1.0)
    assert abs(margin) < 12 * EPS  # what `check` lets pass
    check(margin, flow=True)
    # and a ridge cures it, if it is large enough
    check(margin_of(inverse, kernel, 0.1), ridge=0.1)
    margin = margin_of(inverse, kernel, 1e-15)
    with pytest.raises(NumericalError, match=r"raise `ridge` \(now 1e-15\), or use an"):
        check(margin, ridge=1e-15)


def test_margin_and_floor_are_in_the_message():
    text = r"margin 1\.5e-16, error of entries 2\.7e-15\)"
    with pytest.raises(NumericalError, match=text):
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
    kernel = kernel_of(x, activation)
    margin = margin_of(inverse, kernel, 0.0)
    with pytest.raises(
        NumericalError, match=r"images 3 and 7 are identical: remove the duplicates or "
    ):
        check(margin, x)
    check(margin_of(inverse, kernel, 0.1), x, ridge=0.1)


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
    for dtype, ok in ((np.float64, True), (np.float32, False)):
        points = (0.3 * x[:6] + 1).astype(dtype)
        margin = margin_of(inverse, kernel_of(points, "erf"), dtype(0))
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
    close(weights, np.linalg.solve(KERNEL, (np.eye(12) - left) @ Y))


def test_gradient_flow_ends_at_the_inverse():
    close(flow(KERNEL, Y, 1e6)[0], inverse(KERNEL, Y, 0.0)[0])


def test_gradient_flow_starts_along_the_targets():
    start = np.asarray(flow(KERNEL, Y, 1e-9)[0])
    # 1e-9 times the largest eigenvalue, 13, to first order
    np.testing.assert_allclose(start / 1e-9, Y, rtol=0, atol=1e-6)


def test_gradient_flow_where_nothing_is_learned():
    weights, _ = flow(np.diag([2.0, 0.0, 1e-300]), np.ones((3, 1)), 3.0)
    close(weights, [[(1 - np.exp(-6.0)) / 2], [3.0], [3.0]])


def test_margin_of_gradient_flow():
    values = np.linalg.eigvalsh(KERNEL)
    margin = margin_of(flow, KERNEL, 1.0)
    close(margin, values[0] / values[-1])
    check(margin, flow=True)


@pytest.mark.parametrize("method", [inverse, flow])
def test_dtype_is_kept(method):
    single = [part.astype(np.float32) for part in (KERNEL, Y)]
    weights, margin = method(*single, np.float32(0.5))
    assert weights.dtype == margin.dtype == np.float32
    # the same bound in float32
    rounding = SOLVED / EPS * float(np.finfo(np.float32).eps)
    expected, _ = method(KERNEL, Y, 0.5)
    np.testing.assert_allclose(weights, expected, rtol=0, atol=rounding)
