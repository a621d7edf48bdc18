"""Kernels against neural-tangents, quadrature and finite networks; their properties."""

import dataclasses
import functools
import warnings

import activation_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import assert_close
from problems import erf_kernels

from ntk_corrupt import neural_tangents
from theory.activations import closed_forms, registry
from theory.errors import InputError
from theory.kernels import matrices, propagation, tiling, truncation
from theory.kernels.architecture import Architecture
from theory.numerics import memory

over = lambda cases: pytest.mark.parametrize(
    "case", cases, ids=activation_cases.ids(cases)
)
EPS = np.finfo(float).eps
KEY = jax.random.key(0)


KINDS = frozenset({"identity", "erf", "relu", "step", "tanh", "elu"})


def each_kind(cases, kinds=KINDS):
    """`over` cases, of which only one of each kind is run in `make test`.

    For properties of what is built on `propagation`, which knows of an activation
    nothing but its dual: a formula with one for the diagonal or without, with a kink,
    quadrature, and quadrature with a jump.
    """
    weekly = lambda case: () if case.name in kinds else pytest.mark.slow
    cases = [pytest.param(case, id=case.name, marks=weekly(case)) for case in cases]
    return pytest.mark.parametrize("case", cases)


# --- the same kernels by neural-tangents ---------------------------------------

ALL_DEPTHS = range(1, 7)
# n1, n2, d; drawn once.
SHAPES = ((1, 3, 3), (3, 1, 8), (3, 3, 2), (1, 1, 6), (3, 3, 17))
LARGEST = 17
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


def _gram(case, x, arch):
    """The gram; of a step, which has no NTK, the NNGP twice."""
    if case.trainable:
        return matrices.gram(x, arch)
    nngp = matrices.nngp(x, x, arch)
    return propagation.KernelPair(nngp=nngp, ntk=nngp)


def check_grid(case, setting, depths, dims):
    """Grams against the reference, errors being over sqrt(K_aa K_bb)."""
    for d in dims:
        x = six(d)
        # to one size: zero columns, scaled so that x.x/d stays as it is
        padded = np.pad(x * np.sqrt(LARGEST / d), ((0, 0), (0, LARGEST - d)))
        # Gauss-Hermite is no reference for elu, whose second derivative jumps
        if case.name == "elu":
            reference = _integrals(case, setting, x[:3], x, depths)
        else:
            reference = _tangents(case, setting, x, None, depths)
        for depth, (*theirs, gap) in zip(depths, reference, strict=True):
            gram = _gram(
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
    reference = _integrals if case.name == "elu" else _tangents
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


# --- finite networks -----------------------------------------------------------


WIDTH, INITS, DEPTH = 4096, 24, 3
POINTS = np.random.default_rng(5).standard_normal((2, 6))


@functools.cache
def empirical(case, w_var, b_var):
    """Per initialisation: nngp (n, n), and each layer's part of the NTK.

    The covariance of the outputs is that given the last hidden layer, over which the
    mean is left to sampling: unbiased, and less noisy than products of outputs. Parts
    of the NTK are (inits, depth, 2, n, n): weights in the NTK parametrisation, and
    biases, by reverse-mode autodiff of every output.
    """
    phi = registry.get(case.name).fn
    x = jnp.asarray(POINTS, jnp.float32)
    sizes = (x.shape[1], *(WIDTH,) * (DEPTH - 1), 1)

    def forward(params, x):
        for weights, bias in params[:-1]:
            scale = np.float32(np.sqrt(w_var / weights.shape[0]))
            x = phi(scale * (weights.T @ x) + bias)
        weights, bias = params[-1]
        scale = np.float32(np.sqrt(w_var / weights.shape[0]))
        return (scale * (weights.T @ x) + bias)[0], x

    def sample(key):
        params = []
        for i in range(DEPTH):
            k1, k2 = jax.random.split(jax.random.fold_in(key, i))
            weights = jax.random.normal(k1, sizes[i : i + 2], jnp.float32)
            bias = jax.random.normal(k2, sizes[i + 1 : i + 2], jnp.float32)
            params.append((weights, np.float32(np.sqrt(b_var)) * bias))
        gradient = jax.grad(forward, has_aux=True)
        gradients, hidden = jax.vmap(gradient, (None, 0))(params, x)
        flat = lambda g: g.reshape(len(x), -1)
        parts = [[flat(g) @ flat(g).T for g in layer] for layer in gradients]
        return b_var + w_var * hidden @ hidden.T / WIDTH, jnp.array(parts)

    keys = jax.random.split(KEY, INITS)
    return tuple(map(np.asarray, jax.jit(lambda k: jax.lax.map(sample, k))(keys)))


def z_scores(samples, expected):
    stderr = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return (samples.mean(axis=0) - expected) / stderr


# Weight and bias rates: None is the NTK parametrisation; then one kind at a time, and
# rates that differ from layer to layer.
RATES = {
    "ntk": (None, None),
    "first weights": ((1.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    "last weights": ((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)),
    "trained biases": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "all different": ((0.3, 2.0, 0.7), (1.5, 0.2, 0.6)),
}
NETWORKS = [("relu", 1.7, 0.3), ("erf", 2.0, 0.0)]  # the latter's biases start at 0
BY_NAME = {case.name: case for case in activation_cases.CASES}


# One test: two workers would sample the same networks. Weekly: a minute each, for a
# third route to kernels, beside quadrature and neural-tangents.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "w_var", "b_var"), NETWORKS)
def test_kernels_are_moments_over_wide_networks(name, w_var, b_var):
    outputs, parts = empirical(BY_NAME[name], w_var, b_var)
    for which, (w_rates, b_rates) in RATES.items():
        arch = Architecture(
            depth=DEPTH,
            activation=name,
            w_var=w_var,
            b_var=b_var,
            w_rates=w_rates,
            b_rates=b_rates,
        )
        gram = matrices.gram(jnp.asarray(POINTS), arch)
        weights, biases = w_rates or (1.0,) * DEPTH, b_rates or (b_var,) * DEPTH
        # layers, and weights or biases, are axes 1 and 2
        rates = np.transpose([weights, biases])
        tangent = np.tensordot(parts, rates, ((1, 2), (0, 1)))
        for samples, kernel in ((tangent, gram.ntk), (outputs, gram.nngp)):
            z = z_scores(samples, np.asarray(kernel))
            assert np.abs(z).max() < 5, (which, z)


# --- properties ----------------------------------------------------------------

# Six points; a zero row, one that is minus another. Sizes, depth and kinds of arguments
# are those of a gram of the grid above: tests share what they compile.
ROWS = np.random.default_rng(6).standard_normal((6, LARGEST))
ROWS[1], ROWS[3] = 0.0, -ROWS[2]
Z = jnp.asarray(ROWS)
SPLIT = 3


def shared(case, **changes):
    arch = Architecture(
        depth=3,
        activation=case.name,
        w_var=case.w_var / 2,
        b_var=0.15,
        w_rates=(1.0,) * 3,
        b_rates=(0.15,) * 3,
    )
    return dataclasses.replace(arch, **changes)


@functools.cache
def gram_of(case):
    """The gram of Z."""
    return _gram(case, Z, shared(case))


@over(activation_cases.TRAINABLE)
def test_gram_is_symmetric_and_positive(case):
    for kernel in jax.tree.leaves(gram_of(case)):
        kernel = np.asarray(kernel)
        assert np.all(np.isfinite(kernel))
        assert np.array_equal(kernel, kernel.T)
        # entries of 64 roundings in a row: as much as a singular one may show
        rounding = 64 * EPS * len(kernel) * kernel.max()
        assert np.linalg.eigvalsh(kernel)[0] >= -rounding


def part(pair, index):
    """Entries of both kernels, in NumPy."""
    return jax.tree.map(lambda kernel: np.asarray(kernel)[index], pair)


@each_kind(activation_cases.TRAINABLE)
def test_cross_is_a_block_of_the_gram(case):
    cross = matrices.nngp_ntk(Z[:SPLIT], Z[SPLIT:], shared(case))
    assert_close(cross, part(gram_of(case), np.s_[:SPLIT, SPLIT:]))


@each_kind(activation_cases.CASES)
def test_nngp_alone(case):
    nngp = matrices.nngp(Z[:SPLIT], Z[SPLIT:], shared(case))
    assert_close(nngp, part(gram_of(case).nngp, np.s_[:SPLIT, SPLIT:]))


@over(activation_cases.TRAINABLE)
def test_diagonal(case):
    diagonal = matrices.nngp_ntk_diag(Z, shared(case))
    assert_close(part(gram_of(case), np.diag_indices(len(Z))), diagonal)


@over(activation_cases.TRAINABLE)
def test_gram_follows_a_permutation_of_the_points(case):
    order = np.random.default_rng(7).permutation(len(Z))
    permuted = matrices.gram(jnp.asarray(ROWS[order]), shared(case))
    assert_close(permuted, part(gram_of(case), np.ix_(order, order)))


@each_kind(activation_cases.TRAINABLE, kinds={"relu"})  # operation by operation
def test_jit_is_eager(case):
    arch = shared(case)
    q = propagation.first_layer_variance(Z, arch)
    cov = propagation.first_layer_covariance(Z, Z, arch)
    with jax.disable_jit():
        eager = propagation.propagate(q[:, None], q[None, :], cov, arch)
        diagonal = propagation.propagate_diag(q, arch)
    off = ~np.eye(len(Z), dtype=bool)
    assert_close(part(gram_of(case), off), part(eager, off))
    assert_close(part(gram_of(case), np.diag_indices(len(Z))), diagonal)


@over(activation_cases.TRAINABLE)
def test_finite_at_zero_input_without_biases(case):
    gram = matrices.gram(Z, shared(case, b_var=0.0, b_rates=(0.0,) * 3))
    assert all(np.all(np.isfinite(kernel)) for kernel in jax.tree.leaves(gram))


@each_kind(activation_cases.TRAINABLE)
def test_single_precision(case):
    gram = matrices.gram(Z.astype(jnp.float32), shared(case))
    for single, double in zip(
        jax.tree.leaves(gram), jax.tree.leaves(gram_of(case)), strict=True
    ):
        assert single.dtype == jnp.float32
        scale = np.sqrt(np.outer(np.diagonal(double), np.diagonal(double)))
        error = (np.abs(np.asarray(single, np.float64) - double) / scale).max()
        # 32 roundings, multiplied by 4 in each of two layers of u^4
        assert error <= 32 * 4**2 * np.finfo(np.float32).eps


@pytest.mark.parametrize("b_var", [0.0, 0.4])
def test_depth_one_is_the_linear_kernel(b_var):
    arch = Architecture(depth=1, activation="relu", w_var=1.7, b_var=b_var)
    linear = b_var + 1.7 * Z @ Z.T / Z.shape[1]
    expected = propagation.KernelPair(nngp=linear, ntk=linear)
    assert_close(matrices.gram(Z, arch), expected)
    assert_close(matrices.nngp_ntk(Z, Z, arch), expected)
    rated = dataclasses.replace(arch, w_rates=(0.3,), b_rates=(2.0,))
    ntk = 2.0 + 0.3 * 1.7 * Z @ Z.T / Z.shape[1]
    assert_close(matrices.gram(Z, rated).ntk, ntk)


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_no_rates_are_the_ntk_parametrisation(name):
    arch = shared(BY_NAME[name])
    implicit = dataclasses.replace(arch, w_rates=None, b_rates=None)
    assert_close(matrices.gram(Z, implicit), matrices.gram(Z, arch))


@pytest.mark.parametrize("name", ["relu", "erf", "elu"])
def test_gradients_of_an_entry(name):
    arch = shared(BY_NAME[name])
    fn = jax.jit(lambda q1, q2, cov: propagation.propagate(q1, q2, cov, arch))
    args = jnp.array([0.9, 0.4]), jnp.array([0.6, 1.5]), jnp.array([0.3, -0.5])
    for which in range(3):
        unit = [jnp.full(2, float(which == i)) for i in range(3)]
        _, tangent = jax.jvp(fn, args, tuple(unit))
        up, down = (
            fn(*[a + step * e for a, e in zip(args, unit, strict=True)])
            for step in (1e-5, -1e-5)
        )
        difference = jax.tree.map(lambda a, b: (a - b) / 2e-5, up, down)
        assert_close(tangent, difference, rtol=1e-7, atol=1e-8)


@each_kind(activation_cases.TRAINABLE)
def test_gradients_at_the_edges_are_finite(case):
    q = jnp.array([0.8, 0.8, 0.15, 0.0])
    cov = jnp.array([0.8, -0.8, 0.15, 0.0])
    arch = shared(case, depth=2, w_rates=None, b_rates=None)

    @jax.jit
    def along(*args):
        return jax.jvp(lambda *at: propagation.propagate(*at, arch), args, args)

    with jax.debug_nans(True):
        out = along(q, q, cov)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(out))


# --- compilations, arguments --------------------------------------------------


@pytest.mark.parametrize("shape", [(6,), (5, 2), (7, 2)])
def test_products_need_one_row_per_point(shape):
    arch, fn = shared(BY_NAME["erf"]), matrices.ntk_product
    with pytest.raises(InputError, match=r"`v` must be an array \(6, m\)"):
        getattr(fn, "__wrapped__", fn)(Z, Z, jnp.zeros(shape), arch)


def test_a_sweep_compiles_once():
    traces = []
    erf = registry.get("erf").dual

    def pair(q1, q2, cov):
        traces.append(q1.shape)
        return erf.pair(q1, q2, cov)

    phi = registry.Activation(
        "counted", jax.lax.erf, closed_forms.ClosedForm(pair, erf.diag)
    )
    for w_var in (1.0, 1.5):
        for b_var in (0.0, 0.1):
            for rate in (1.0, 0.5):
                arch = Architecture(
                    depth=2,
                    activation=phi,
                    w_var=w_var,
                    b_var=b_var,
                    w_rates=(rate, 1.0),
                    b_rates=(b_var, rate),
                )
                matrices.gram(Z, arch)
                once = len(traces)
                if (w_var, b_var, rate) == (1.0, 0.0, 1.0):
                    first = once
    assert once == first > 0


def test_works_under_jit_and_vmap_of_the_settings():
    arch = Architecture(depth=2, activation="erf")

    @jax.jit
    def total(w_var):
        return matrices.gram(Z, dataclasses.replace(arch, w_var=w_var)).ntk.sum()

    w_vars = jnp.array([0.5, 1.0, 2.0])
    one_by_one = np.array([total(w_var) for w_var in np.asarray(w_vars)])
    assert_close(jax.vmap(total)(w_vars), one_by_one)


# --- truncation, errors --------------------------------------------------------


def test_truncation_error():
    truncation_error = jax.jit(truncation.truncation_error)
    for name in ("relu", "gelu"):
        arch = Architecture(depth=4, activation=name)
        assert truncation_error(Z, arch) == 0
    tanh = registry.get("tanh").dual
    arch = Architecture(depth=3, activation="tanh", w_var=6.0, b_var=0.1)
    q = 0.1 + 6.0 * (ROWS**2).mean(axis=1)
    error = jax.jit(tanh.error)
    layers = q, 0.1 + 6.0 * np.asarray(tanh.diag(jnp.asarray(q)).value)
    expected = np.max([error(layer) for layer in layers])
    found = truncation_error(Z, arch)
    # differences of sums of 256 terms
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=256 * EPS)
    assert 1e-13 < expected < 1e-3


def test_a_step_has_no_ntk():
    arch = Architecture(depth=2, activation="step")
    for call in (
        lambda: matrices.gram(Z, arch),
        lambda: matrices.nngp_ntk(Z, Z, arch),
        lambda: matrices.nngp_ntk_diag(Z, arch),
    ):
        with pytest.raises(InputError, match=r"step has no NTK.*use theory\.nngp"):
            call()
    assert matrices.nngp(Z, Z, arch).shape == (6, 6)
    linear = dataclasses.replace(arch, depth=1)  # no activation is used
    assert matrices.gram(Z, linear).ntk.shape == (6, 6)


@pytest.mark.parametrize("call", ["gram", "nngp_ntk", "nngp", "nngp_ntk_diag"])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 3), (0, 3), (3, 0)])
def test_shapes_of_points(call, shape):
    arch = Architecture(depth=2, activation="erf")
    x = jnp.asarray(np.ones(shape))
    args = (x, x) if call in ("nngp_ntk", "nngp") else (x,)
    fn = getattr(matrices, call)
    with pytest.raises(InputError, match="points must be arrays"):
        # the check of annotations, which only tests have, comes first
        getattr(fn, "__wrapped__", fn)(*args, arch)


def test_shapes_that_disagree():
    arch = Architecture(depth=2, activation="erf")
    for fn in (matrices.nngp_ntk, matrices.nngp):
        with pytest.raises(InputError, match=r"equal d, got \(6, 17\) and \(6, 16\)"):
            getattr(fn, "__wrapped__", fn)(Z, Z[:, 1:], arch)


def test_bad_architecture():
    with pytest.raises(InputError, match="`depth` must be at least 1"):
        matrices.gram(Z, Architecture(depth=0, activation="erf"))


def test_memory_is_checked_first(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**9)
    arch = Architecture(depth=2, activation="erf")
    text = (
        r"a kernel of 6 x 6 points in float64 needs 5\.36e-07 GiB and 4\.77e-07 GiB "
        r"are free: use fewer points, float32, or theory\.numerics\.blocks\.map_rows"
    )
    for call in (lambda: matrices.gram(Z, arch), lambda: matrices.nngp_ntk(Z, Z, arch)):
        with pytest.raises(InputError, match=text):
            call()
    # half of it without the NTK, and in float32
    assert matrices.nngp(Z, Z, arch).shape == (6, 6)
    assert matrices.gram(Z.astype(jnp.float32), arch).ntk.shape == (6, 6)


# --- blocks --------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_blocks():
    """Blocks of four rows and three columns, to the end of the file.

    Compiled functions remember theirs, hence for all tests that ask for it at once.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiling.BLOCKS, "cpu", (4, 3))
        jax.clear_caches()
        yield
    jax.clear_caches()


@pytest.mark.parametrize("n", [1, 3, 5, 11])
def test_any_number_of_points(small_blocks, n):
    draw = lambda seed, *shape: np.random.default_rng(seed).standard_normal(shape)
    arch = Architecture(depth=2, activation="erf", w_var=1.3, b_var=0.2)
    x, y = jnp.asarray(draw(n, n, 3)), jnp.asarray(draw(8, 6, 3))
    gram = matrices.gram(x, arch)
    assert np.array_equal(gram.ntk, gram.ntk.T)
    for ours, x2 in ((gram, x), (matrices.nngp_ntk(x, y, arch), y)):
        whole = erf_kernels(x, x2, 2, 1.3, 0.2)
        assert_close((ours.nngp, ours.ntk), whole)
        v = draw(9, len(x2), 2)
        product = matrices.ntk_product(x, x2, jnp.asarray(v), arch)
        assert_close(product, whole[1] @ v)
    v = draw(9, n, 2)
    # which kernel it is does not touch the blocks
    for kind in ("ntk", "nngp") if n == 11 else ("ntk",):
        expected = np.asarray(getattr(gram, kind)) @ v
        product = matrices.gram_product(x, jnp.asarray(v), arch, kind=kind)
        assert_close(product, expected)
        product = matrices.gram_product(
            x, jnp.asarray(v), arch, kind=kind, rows=np.array([n - 1, 0])
        )
        assert_close(product, expected[[n - 1, 0]])


def test_products_with_a_gram_are_exact_on_the_diagonal(small_blocks):
    # a kinked activation loses half of the digits there if taken as any other entry
    arch = shared(BY_NAME["relu"])
    v = jnp.eye(len(Z))
    for kind in ("ntk", "nngp"):
        product = np.diagonal(matrices.gram_product(Z, v, arch, kind=kind))
        exact = getattr(matrices.nngp_ntk_diag(Z, arch), kind)
        np.testing.assert_allclose(product, exact, rtol=64 * EPS)


def test_one_kernel_alone_is_that_of_the_pair(small_blocks):
    arch = shared(BY_NAME["erf"])
    assert_close(matrices.ntk_gram(Z, arch), matrices.gram(Z, arch).ntk)
    pair = matrices.nngp_ntk(Z[:SPLIT], Z[SPLIT:], arch)
    assert_close(matrices.ntk(Z[:SPLIT], Z[SPLIT:], arch), pair.ntk)
    assert_close(matrices.nngp(Z[:SPLIT], Z[SPLIT:], arch), pair.nngp)


def test_blocks_are_mirrored_bit_for_bit(small_blocks):
    # two copies of its variances are rounded differently
    gram = matrices.gram(Z, shared(BY_NAME["monomial3"]))
    for kernel in jax.tree.leaves(gram):
        assert np.array_equal(kernel, kernel.T)
