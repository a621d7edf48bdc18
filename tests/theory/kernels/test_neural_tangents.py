"""Kernels against those of neural-tangents, at every depth and activation."""

import functools
import warnings

import activation_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_cases import EPS, LARGEST, gram_or_nngp, over

from ntk_corrupt import neural_tangents
from theory.activations import registry
from theory.kernels import matrices
from theory.kernels.architecture import Architecture

ALL_DEPTHS = range(1, 7)
# n1, n2, d; drawn once.
SHAPES = ((1, 3, 3), (3, 1, 8), (3, 3, 2), (1, 1, 6), (3, 3, 17))
WIDTHS = (11, 7, 5, 13, 3)
# Parametrisation, whether biases have a variance, the factor of the table's w_var.
SETTINGS = {
    "ntk": ("ntk", True, 0.5),
    "standard": ("standard", True, 0.5),
    "standard, biases from zero": ("standard", False, 1.0),
}
# Gauss-Hermite nodes per dimension of neural-tangents' quadrature.
NODES = 100


def _near_one(rng, n, d):
    """Points whose mean square is about one."""
    x = rng.standard_normal((n, d))
    size = rng.uniform(0.95, 1.05, (n, 1))
    return x * size / np.sqrt((x**2).mean(1, keepdims=True))


def _with_edges(x1, x2):
    """Three points each, of which pairs coincide, almost, or oppose."""
    return x1, np.array([x1[0], x1[1] + 1e-6 * x2[1], -x1[2]])


@functools.cache
def points(shape):
    """x1 and x2."""
    n1, n2, d = shape
    x = _near_one(np.random.default_rng(shape), n1 + n2, d)
    return _with_edges(x[:n1], x[n1:]) if min(n1, n2) > 2 else (x[:n1], x[n1:])


@functools.cache
def six(d):
    """Six points: neural-tangents runs eagerly, each operation compiled per size."""
    x = _near_one(np.random.default_rng(d), 6, d)
    return np.concatenate(_with_edges(x[:3], x[3:]))


def variances(case, setting):
    _, biases, factor = SETTINGS[setting]
    return case.w_var * factor, 0.15 * biases


def architecture(case, setting, d, depth):
    """Rates are explicit: one compilation serves all settings."""
    w_var, b_var = variances(case, setting)
    if SETTINGS[setting][0] == "standard":
        return Architecture.standard(
            widths=(d, *WIDTHS[: depth - 1]),
            activation=case.name,
            w_var=w_var,
            b_var=b_var,
        )
    return Architecture(
        depth=depth,
        activation=case.name,
        w_var=w_var,
        b_var=b_var,
        w_rates=(1.0,) * depth,
        b_rates=(b_var,) * depth,
    )


def _layer(stax, case):
    """The activation as neural-tangents has it, by formula where there is one."""
    layers = {
        "identity": stax.Identity,
        "erf": stax.Erf,
        "relu": stax.Relu,
        "leaky_relu": lambda: stax.LeakyRelu(0.01),
        "step": stax.Sign,
        "sin": stax.Sin,
        "cos": stax.Cos,
        "gelu": stax.Gelu,
        "exp": stax.Exp,
        "gaussian": stax.Gaussian,
        **{f"monomial{n}": functools.partial(stax.Monomial, n) for n in (2, 3, 4)},
    }
    if case.name in layers:
        return layers[case.name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that it is numerical
        return stax.ElementwiseNumerical(registry.get(case.name).fn, NODES)


def _tangents(case, setting, x1, x2, depths):
    """Yields neural-tangents' nngp and ntk, and the gap of `tolerances`.

    x2 None is x1.
    """
    stax = neural_tangents.load().stax
    kind = SETTINGS[setting][0]
    w_var, b_var = variances(case, setting)
    # standard: a b_std of zero is a bias that is trained
    b_std = np.sqrt(b_var) if kind == "standard" or b_var else None

    def dense(depth, w_std, b_std):
        width = (*WIDTHS, 1)[depth - 1]
        return stax.Dense(width, w_std, b_std, parameterization=kind)[2]

    kernel = dense(1, np.sqrt(w_var), b_std)(x1, x2)
    activation = _layer(stax, case)[2]
    if case.name == "step":  # (1 + sign)/2: a quarter of its variance, and a constant
        hidden = np.sqrt(w_var) / 2, np.sqrt(b_var + w_var / 4)
    else:
        hidden = np.sqrt(w_var), b_std
    gap = 1.0
    for depth in range(1, max(depths) + 1):
        if depth > 1:
            kernel = dense(depth, *hidden)(activation(kernel))
        q1, q2 = kernel.cov1, kernel.cov1 if x2 is None else kernel.cov2
        nngp = np.asarray(kernel.nngp)
        gap = np.minimum(gap, 1 - np.abs(nngp) / np.sqrt(np.outer(q1, q2)))
        if depth in depths:
            yield nngp, np.asarray(kernel.ntk), gap


def _integrals(case, setting, x1, x2, depths):
    """Yields the same by quadrature in polar coordinates."""
    for depth in depths:
        arch = architecture(case, setting, x1.shape[1], depth)
        nngp, ntk = activation_cases.reference_kernels(
            case,
            x1,
            x1 if x2 is None else x2,
            depth=depth,
            w_var=arch.w_var,
            b_var=arch.b_var,
            w_rates=arch.w_rates,
            b_rates=arch.b_rates,
        )
        yield nngp, ntk, np.ones_like(nngp)


def tolerances(case, depth, gap):
    """Allowed errors, given the smallest 1 - |correlation| met on the way."""
    if case.kind == "quadrature":
        return 1e-6
    # 32 roundings, multiplied by 4 in every layer of u^4: 7e-12
    regular = 1e-10
    if case.kind == "closed":
        return np.full(np.shape(gap), regular)
    # an angle wrong by the root of twice 32 roundings, 8 sqrt(eps): a slope by 1/2pi of
    # it, w_var times that in every layer
    kink = depth * 8 * np.sqrt(EPS)
    if case.name == "step" and depth > 2:
        kink = np.inf  # a square root of the one before in every layer: 1e-8, 1e-4, ...
    return np.where(gap < 1e-6, kink, regular)


def check_grid(case, setting, depths, dims):
    """Grams against the reference, errors being over sqrt(K_aa K_bb)."""
    for d in dims:
        x = six(d)
        # to one size: zero columns, scaled so that x.x/d stays as it is
        padded = np.pad(x * np.sqrt(LARGEST / d), ((0, 0), (0, LARGEST - d)))
        if not case.smooth:
            reference = _integrals(case, setting, x[:3], x, depths)
        else:
            reference = _tangents(case, setting, x, None, depths)
        for depth, (*theirs, gap) in zip(depths, reference, strict=True):
            gram = gram_or_nngp(
                case, jnp.asarray(padded), architecture(case, setting, d, depth)
            )
            n = len(gap)
            for which, expected in zip(("nngp", "ntk"), theirs, strict=True):
                if which == "ntk" and not case.trainable:
                    continue
                ours = np.asarray(getattr(gram, which))
                root = np.sqrt(np.diagonal(ours))
                error = np.abs(ours[:n] - expected) / np.outer(root[:n], root)
                worst = (error / tolerances(case, depth, gap)).max()
                assert worst <= 1, (which, d, depth)


# Weekly at more depths, which but loop longer, and inputs of other sizes.
@pytest.mark.parametrize("setting", SETTINGS)
@over(activation_cases.CASES)
def test_against_neural_tangents(case, setting):
    at_all = case.name in ("erf", "relu")
    check_grid(case, setting, ALL_DEPTHS if at_all else (3, 6), (2, LARGEST))


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
@over(activation_cases.CASES)
def test_every_depth_and_size_against_neural_tangents(case, setting):
    check_grid(case, setting, ALL_DEPTHS, [d for *_, d in SHAPES])


@pytest.mark.slow  # one compilation for each of 6 depths, 5 shapes and 2 functions
@over(activation_cases.CASES)
def test_public_functions_against_neural_tangents(case):
    jax.clear_caches()  # thousands of compiled functions crashed one process
    reference = _tangents if case.smooth else _integrals
    for shape in SHAPES:
        x1, x2 = points(shape)
        for other in (None, x2):
            expected = reference(case, "ntk", x1, other, ALL_DEPTHS)
            for depth, (nngp, ntk, gap) in zip(ALL_DEPTHS, expected, strict=True):
                arch = architecture(case, "ntk", shape[2], depth)
                if not case.trainable:
                    second = x1 if other is None else x2
                    pairs = [
                        (matrices.nngp(*map(jnp.asarray, (x1, second)), arch), nngp)
                    ]
                else:
                    pair = (
                        matrices.gram(jnp.asarray(x1), arch)
                        if other is None
                        else matrices.nngp_ntk(*map(jnp.asarray, (x1, x2)), arch)
                    )
                    pairs = [(pair.nngp, nngp), (pair.ntk, ntk)]
                for ours, theirs in pairs:
                    # entries are of the order of the diagonal, or it is a test of zero
                    error = np.abs(np.asarray(ours) - theirs) / np.abs(theirs).max()
                    worst = (error / (10 * tolerances(case, depth, gap))).max()
                    assert worst <= 1, (shape, depth)
