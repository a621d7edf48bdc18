"""Kernels against neural-tangents, quadrature and finite networks; their properties."""

import dataclasses
import functools
import warnings

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_corrupt import neural_tangents
from theory import activations, blocks, duals, kernel_blocks, kernels, propagation
from theory.errors import InputError
from theory.problem import Architecture

over = lambda cases: pytest.mark.parametrize("case", cases, ids=helpers.ids(cases))
DEPTHS = range(1, 7)
KEY = jax.random.key(0)

# --- the same kernels by neural-tangents ---------------------------------------

# n1, n2, d; drawn once. Few sizes of kernels: neural-tangents runs eagerly, and every
# operation compiles once per size.
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


@functools.cache
def points(shape):
    """x1 and x2 of mean square about one; some pairs coincide, almost, or oppose."""
    n1, n2, d = shape
    rng = np.random.default_rng(shape)
    x = rng.standard_normal((n1 + n2, d))
    x *= rng.uniform(0.95, 1.05, (n1 + n2, 1)) / np.sqrt((x**2).mean(1, keepdims=True))
    x1, x2 = x[:n1], x[n1:]
    if min(n1, n2) > 2:
        x2[0], x2[1] = x1[0], x1[1] + 1e-6 * x2[1]
        x2[2] = -x1[2]
    return x1, x2


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
        return stax.ElementwiseNumerical(activations.get(case.name).fn, NODES)


def _tangents(case, setting, shape, same):
    """Yields neural-tangents' nngp, ntk and correlation, layer by layer."""
    stax = neural_tangents.load().stax
    x1, x2 = points(shape)
    kind = SETTINGS[setting][0]
    w_var, b_var = variances(case, setting)
    # standard: a b_std of zero is a bias that is trained
    b_std = np.sqrt(b_var) if kind == "standard" or b_var else None

    def dense(depth, w_std, b_std):
        width = (*WIDTHS, 1)[depth - 1]
        return stax.Dense(width, w_std, b_std, parameterization=kind)[2]

    kernel = dense(1, np.sqrt(w_var), b_std)(x1, None if same else x2)
    activation = _layer(stax, case)[2]
    if case.name == "step":  # (1 + sign)/2: a quarter of its variance, and a constant
        hidden = np.sqrt(w_var) / 2, np.sqrt(b_var + w_var / 4)
    else:
        hidden = np.sqrt(w_var), b_std
    for depth in DEPTHS:
        if depth > 1:
            kernel = dense(depth, *hidden)(activation(kernel))
        q1, q2 = kernel.cov1, kernel.cov1 if same else kernel.cov2
        nngp = np.asarray(kernel.nngp)
        yield nngp, np.asarray(kernel.ntk), nngp / np.sqrt(np.outer(q1, q2))


def _integrals(case, setting, shape, same):
    """Yields the same by quadrature in polar coordinates."""
    x1, x2 = points(shape)
    for depth in DEPTHS:
        arch = architecture(case, setting, shape[2], depth)
        nngp, ntk = helpers.reference_kernels(
            case,
            x1,
            x1 if same else x2,
            depth=depth,
            w_var=arch.w_var,
            b_var=arch.b_var,
            w_rates=arch.w_rates,
            b_rates=arch.b_rates,
        )
        yield nngp, ntk, np.zeros_like(nngp)


@functools.cache
def _grams(case):
    """All depths of `gram` (`nngp` for the step) in one compilation."""

    @jax.jit
    def run(x, archs):
        if case.trainable:
            return [kernels.gram(x, arch) for arch in archs]
        return [
            propagation.KernelPair(nngp=k, ntk=jnp.zeros_like(k))
            for k in (kernels.nngp(x, x, arch) for arch in archs)
        ]

    return run


def padded(x, n, d):
    """Zero rows, and zero columns scaled so that x.x/d stays as it is."""
    x = x * np.sqrt(d / x.shape[1])
    return np.pad(x, ((0, n - x.shape[0]), (0, d - x.shape[1])))


def tolerances(case, depth, gap):
    """Allowed errors, given the smallest 1 - |correlation| met on the way."""
    if case.kind == "quadrature":
        return 1e-6
    if case.name == "step":
        # a square root of the one before in every layer: 1e-8, 1e-4, ...
        return np.where(gap < 1e-6, 1e-7 if depth <= 2 else np.inf, 1e-10)
    if case.kind == "kinked":
        # sqrt(1 - r^2) near r = 1: half of the digits
        return np.where(gap < 1e-6, 1e-7, 1e-10)
    return 1e-10


def grid_errors(case, setting):
    """Yields depth, errors over sqrt(K_aa K_bb), and the gap of `tolerances`.

    Over the shapes, x1 != x2 and x1 == x2. Shapes are padded to one, for compilation.
    """
    # Gauss-Hermite is no reference for elu, whose second derivative jumps
    reference = _integrals if case.name == "elu" else _tangents
    n = max(n1 + n2 for n1, n2, _ in SHAPES)
    for shape in SHAPES:
        (x1, x2), d = points(shape), shape[2]
        x = jnp.asarray(padded(np.concatenate([x1, x2]), n, max(s[2] for s in SHAPES)))
        archs = [architecture(case, setting, d, depth) for depth in DEPTHS]
        grams = _grams(case)(x, archs)
        for same in (False, True):
            rows = slice(0, len(x1))
            columns = rows if same else slice(len(x1), len(x1) + len(x2))
            gap = 1.0
            for depth, gram, (*theirs, r) in zip(
                DEPTHS, grams, reference(case, setting, shape, same), strict=True
            ):
                gap = np.minimum(gap, 1 - np.abs(r))
                for which, expected in zip(("nngp", "ntk"), theirs, strict=True):
                    if which == "ntk" and not case.trainable:
                        continue
                    ours = np.asarray(getattr(gram, which))
                    q = np.diagonal(ours)
                    scale = np.sqrt(np.outer(q[rows], q[columns]))
                    yield depth, np.abs(ours[rows, columns] - expected) / scale, gap


@pytest.mark.parametrize("setting", SETTINGS)
@over(helpers.CASES)
def test_against_neural_tangents(case, setting):
    for depth, error, gap in grid_errors(case, setting):
        assert np.all(error <= tolerances(case, depth, gap)), (depth, error.max())


@pytest.mark.slow  # one compilation for each of 6 depths, 5 shapes and 2 functions
@over(helpers.CASES)
def test_public_functions_against_neural_tangents(case):
    jax.clear_caches()  # thousands of compiled functions crashed one process
    reference = _integrals if case.name == "elu" else _tangents
    for shape in SHAPES:
        x1, x2 = map(jnp.asarray, points(shape))
        for same in (False, True):
            gap = 1.0
            for depth, (nngp, ntk, r) in zip(
                DEPTHS, reference(case, "ntk", shape, same), strict=True
            ):
                arch = architecture(case, "ntk", shape[2], depth)
                gap = np.minimum(gap, 1 - np.abs(r))
                if not case.trainable:
                    nngp_alone = kernels.nngp(x1, x1 if same else x2, arch)
                    pairs = [(nngp_alone, nngp)]
                else:
                    pair = (
                        kernels.gram(x1, arch)
                        if same
                        else kernels.nngp_ntk(x1, x2, arch)
                    )
                    pairs = [(pair.nngp, nngp), (pair.ntk, ntk)]
                for ours, theirs in pairs:
                    # entries are of the order of the diagonal, or it is a test of zero
                    error = np.abs(np.asarray(ours) - theirs) / np.abs(theirs).max()
                    assert np.all(error <= 10 * tolerances(case, depth, gap))


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
    phi = activations.get(case.name).fn
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
BY_NAME = {case.name: case for case in helpers.CASES}


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
        gram = kernels.gram(jnp.asarray(POINTS), arch)
        weights, biases = w_rates or (1.0,) * DEPTH, b_rates or (b_var,) * DEPTH
        # layers, and weights or biases, are axes 1 and 2
        rates = np.transpose([weights, biases])
        tangent = np.tensordot(parts, rates, ((1, 2), (0, 1)))
        for samples, kernel in ((tangent, gram.ntk), (outputs, gram.nngp)):
            z = z_scores(samples, np.asarray(kernel))
            assert np.abs(z).max() < 5, (which, z)


# --- properties ----------------------------------------------------------------

# Nine points; a zero row, one that is minus another. One architecture: tests share
# what they compile.
ROWS = np.random.default_rng(6).standard_normal((9, 7))
ROWS[3], ROWS[5] = 0.0, -ROWS[4]
Z = jnp.asarray(ROWS)
SPLIT = 5


def shared(case, **changes):
    arch = Architecture(depth=3, activation=case.name, w_var=case.w_var / 2, b_var=0.15)
    return dataclasses.replace(arch, **changes)


@functools.cache
def gram_of(case):
    """The gram of Z; of a step, which has no NTK, the NNGP twice."""
    if case.trainable:
        return kernels.gram(Z, shared(case))
    nngp = kernels.nngp(Z, Z, shared(case))
    return propagation.KernelPair(nngp=nngp, ntk=nngp)


@over(helpers.TRAINABLE)
def test_gram_is_symmetric_and_positive(case):
    for kernel in jax.tree.leaves(gram_of(case)):
        kernel = np.asarray(kernel)
        assert np.array_equal(kernel, kernel.T)
        assert np.linalg.eigvalsh(kernel)[0] > -1e-13 * kernel.max()
        assert np.all(np.isfinite(kernel))


@over(helpers.TRAINABLE)
def test_cross_is_a_block_of_the_gram(case):
    cross = kernels.nngp_ntk(Z[:SPLIT], Z[SPLIT:], shared(case))
    block = jax.tree.map(lambda k: k[:SPLIT, SPLIT:], gram_of(case))
    # rows 4 and 5 are opposite: a kink's square root of rounding
    loose = 1e-7 if case.kind == "kinked" else 1e-10
    helpers.assert_close(cross, block, rtol=loose)


@over(helpers.CASES)
def test_nngp_alone(case):
    nngp = kernels.nngp(Z[:SPLIT], Z[SPLIT:], shared(case))
    loose = 1e-7 if case.kind == "kinked" else 1e-10
    helpers.assert_close(nngp, gram_of(case).nngp[:SPLIT, SPLIT:], rtol=loose)


@over(helpers.TRAINABLE)
def test_diagonal(case):
    diagonal = kernels.nngp_ntk_diag(Z, shared(case))
    helpers.assert_close(jax.tree.map(jnp.diagonal, gram_of(case)), diagonal)


@over(helpers.TRAINABLE)
def test_gram_follows_a_permutation_of_the_points(case):
    order = np.random.default_rng(7).permutation(len(Z))
    permuted = kernels.gram(Z[order], shared(case))
    expected = jax.tree.map(lambda k: k[order][:, order], gram_of(case))
    loose = 1e-7 if case.kind == "kinked" else 1e-10  # opposite rows, as above
    helpers.assert_close(permuted, expected, rtol=loose)


@over(helpers.TRAINABLE)
def test_jit_is_eager(case):
    arch = shared(case)
    q = propagation.first_layer_variance(Z, arch)
    cov = propagation.first_layer_covariance(Z, Z, arch)
    eager = propagation.propagate(q[:, None], q[None, :], cov, arch)
    off = ~np.eye(len(Z), dtype=bool)
    loose = 1e-7 if case.kind == "kinked" else 1e-10  # opposite rows, as above
    helpers.assert_close(
        jax.tree.map(lambda k: k[off], gram_of(case)),
        jax.tree.map(lambda k: k[off], eager),
        rtol=loose,
    )
    diagonal = propagation.propagate_diag(q, arch)
    helpers.assert_close(jax.tree.map(jnp.diagonal, gram_of(case)), diagonal)


@over(helpers.TRAINABLE)
def test_finite_at_zero_input_without_biases(case):
    gram = kernels.gram(Z, shared(case, b_var=0.0))
    assert all(np.all(np.isfinite(kernel)) for kernel in jax.tree.leaves(gram))


@over(helpers.TRAINABLE)
def test_single_precision(case):
    gram = kernels.gram(Z.astype(jnp.float32), shared(case))
    for single, double in zip(
        jax.tree.leaves(gram), jax.tree.leaves(gram_of(case)), strict=True
    ):
        assert single.dtype == jnp.float32
        scale = np.sqrt(np.outer(np.diagonal(double), np.diagonal(double)))
        error = np.abs(np.asarray(single, np.float64) - double) / scale
        # opposite rows of a kink: half of the digits of 6e-8
        tolerance = np.full(error.shape, 2e-5)
        tolerance[4, 5] = tolerance[5, 4] = 1e-3 if case.kind == "kinked" else 2e-5
        assert np.all(error <= tolerance), error.max()


@pytest.mark.parametrize("b_var", [0.0, 0.4])
def test_depth_one_is_the_linear_kernel(b_var):
    arch = Architecture(depth=1, activation="relu", w_var=1.7, b_var=b_var)
    linear = b_var + 1.7 * Z @ Z.T / Z.shape[1]
    expected = propagation.KernelPair(nngp=linear, ntk=linear)
    helpers.assert_close(kernels.gram(Z, arch), expected)
    helpers.assert_close(kernels.nngp_ntk(Z, Z, arch), expected)
    rated = dataclasses.replace(arch, w_rates=(0.3,), b_rates=(2.0,))
    ntk = 2.0 + 0.3 * 1.7 * Z @ Z.T / Z.shape[1]
    helpers.assert_close(kernels.gram(Z, rated).ntk, ntk)


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_no_rates_are_the_ntk_parametrisation(name):
    arch = shared(BY_NAME[name])
    explicit = dataclasses.replace(arch, w_rates=(1.0,) * 3, b_rates=(arch.b_var,) * 3)
    helpers.assert_close(kernels.gram(Z, explicit), kernels.gram(Z, arch))


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
        helpers.assert_close(tangent, difference, rtol=1e-7, atol=1e-8)


@over(helpers.TRAINABLE)
def test_gradients_at_the_edges_are_finite(case):
    q = jnp.array([0.8, 0.8, 0.15, 0.0])
    cov = jnp.array([0.8, -0.8, 0.15, 0.0])
    arch = shared(case, depth=2)
    with jax.debug_nans(True):
        out = jax.jvp(
            lambda *args: propagation.propagate(*args, arch), (q, q, cov), (q, q, cov)
        )
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(out))


# --- blocks, compilations ------------------------------------------------------


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of four rows and three columns; compiled functions remember theirs."""
    jax.clear_caches()
    monkeypatch.setitem(kernel_blocks.BLOCKS, "cpu", (4, 3))
    yield
    jax.clear_caches()


def test_any_number_of_points(small_blocks):
    arch = Architecture(depth=2, activation="erf", w_var=1.3, b_var=0.2)
    y = jnp.asarray(np.random.default_rng(8).standard_normal((6, 3)))
    for n in (1, 3, 5, 11):
        x = jnp.asarray(np.random.default_rng(n).standard_normal((n, 3)))
        gram = kernels.gram(x, arch)
        assert np.array_equal(gram.ntk, gram.ntk.T)
        for ours, x2 in ((gram, x), (kernels.nngp_ntk(x, y, arch), y)):
            q1, q2 = (propagation.first_layer_variance(p, arch) for p in (x, x2))
            cov = propagation.first_layer_covariance(x, x2, arch)
            whole = propagation.propagate(q1[:, None], q2[None, :], cov, arch)
            helpers.assert_close(ours, whole)
            v = jnp.asarray(np.random.default_rng(9).standard_normal((len(x2), 2)))
            product = kernels.ntk_product(x, x2, v, arch)
            helpers.assert_close(product, np.asarray(whole.ntk @ v))
        v = jnp.asarray(np.random.default_rng(9).standard_normal((n, 2)))
        for kind in ("ntk", "nngp"):
            expected = np.asarray(getattr(gram, kind)) @ np.asarray(v)
            product = kernels.gram_product(x, v, arch, kind=kind)
            helpers.assert_close(product, expected)
            product = kernels.gram_product(
                x, v, arch, kind=kind, rows=np.array([n - 1, 0])
            )
            helpers.assert_close(product, expected[[n - 1, 0]])


def test_products_with_a_gram_are_exact_on_the_diagonal(small_blocks):
    # a kinked activation loses half of the digits there if taken as any other entry
    arch = shared(BY_NAME["relu"])
    v = jnp.eye(len(Z))
    for kind in ("ntk", "nngp"):
        product = np.diagonal(kernels.gram_product(Z, v, arch, kind=kind))
        exact = getattr(kernels.nngp_ntk_diag(Z, arch), kind)
        np.testing.assert_array_equal(product, exact)


def test_one_kernel_alone_is_that_of_the_pair(small_blocks):
    arch = shared(BY_NAME["erf"])
    helpers.assert_close(kernels.ntk_gram(Z, arch), kernels.gram(Z, arch).ntk)
    pair = kernels.nngp_ntk(Z[:SPLIT], Z[SPLIT:], arch)
    helpers.assert_close(kernels.ntk(Z[:SPLIT], Z[SPLIT:], arch), pair.ntk)
    helpers.assert_close(kernels.nngp(Z[:SPLIT], Z[SPLIT:], arch), pair.nngp)


@pytest.mark.parametrize("shape", [(9,), (8, 2), (10, 2)])
def test_products_need_one_row_per_point(shape):
    arch, fn = shared(BY_NAME["erf"]), kernels.ntk_product
    with pytest.raises(InputError, match=r"`v` must be an array \(9, m\)"):
        getattr(fn, "__wrapped__", fn)(Z, Z, jnp.zeros(shape), arch)


def test_blocks_are_mirrored_bit_for_bit(small_blocks):
    # two copies of its variances are rounded differently
    gram = kernels.gram(Z, shared(BY_NAME["monomial3"]))
    for kernel in jax.tree.leaves(gram):
        assert np.array_equal(kernel, kernel.T)


def test_a_sweep_compiles_once():
    traces = []
    erf = activations.get("erf").dual

    def pair(q1, q2, cov):
        traces.append(q1.shape)
        return erf.pair(q1, q2, cov)

    phi = activations.Activation(
        "counted", jax.lax.erf, duals.ClosedForm(pair, erf.diag)
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
                kernels.gram(Z, arch)
                once = len(traces)
                if (w_var, b_var, rate) == (1.0, 0.0, 1.0):
                    first = once
    assert once == first > 0


def test_works_under_jit_and_vmap_of_the_settings():
    arch = Architecture(depth=2, activation="erf")

    @jax.jit
    def total(w_var):
        return kernels.gram(Z, dataclasses.replace(arch, w_var=w_var)).ntk.sum()

    w_vars = jnp.array([0.5, 1.0, 2.0])
    one_by_one = jnp.array([total(w_var) for w_var in w_vars])
    helpers.assert_close(jax.vmap(total)(w_vars), one_by_one)


# --- truncation, errors --------------------------------------------------------


def test_truncation_error():
    for name in ("relu", "gelu"):
        arch = Architecture(depth=4, activation=name)
        helpers.assert_close(propagation.truncation_error(Z, arch), jnp.zeros(()))
    tanh = activations.get("tanh").dual
    arch = Architecture(depth=3, activation="tanh", w_var=6.0, b_var=0.1)
    q = propagation.first_layer_variance(Z, arch)
    layers = q, 0.1 + 6.0 * tanh.diag(q).value
    expected = max(tanh.error(layer).max() for layer in layers)
    helpers.assert_close(propagation.truncation_error(Z, arch), expected)
    assert 1e-13 < expected < 1e-3


def test_a_step_has_no_ntk():
    arch = Architecture(depth=2, activation="step")
    for call in (
        lambda: kernels.gram(Z, arch),
        lambda: kernels.nngp_ntk(Z, Z, arch),
        lambda: kernels.nngp_ntk_diag(Z, arch),
    ):
        with pytest.raises(InputError, match=r"step has no NTK.*use theory\.nngp"):
            call()
    assert kernels.nngp(Z, Z, arch).shape == (9, 9)
    linear = dataclasses.replace(arch, depth=1)  # no activation is used
    assert kernels.gram(Z, linear).ntk.shape == (9, 9)


@pytest.mark.parametrize("call", ["gram", "nngp_ntk", "nngp", "nngp_ntk_diag"])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 3), (0, 3), (3, 0)])
def test_shapes_of_points(call, shape):
    arch = Architecture(depth=2, activation="erf")
    x = jnp.ones(shape)
    args = (x, x) if call in ("nngp_ntk", "nngp") else (x,)
    fn = getattr(kernels, call)
    with pytest.raises(InputError, match="points must be arrays"):
        # the check of annotations, which only tests have, comes first
        getattr(fn, "__wrapped__", fn)(*args, arch)


def test_shapes_that_disagree():
    arch = Architecture(depth=2, activation="erf")
    for fn in (kernels.nngp_ntk, kernels.nngp):
        with pytest.raises(InputError, match=r"equal d, got \(9, 7\) and \(9, 6\)"):
            getattr(fn, "__wrapped__", fn)(Z, Z[:, 1:], arch)


def test_bad_architecture():
    with pytest.raises(InputError, match="`depth` must be at least 1"):
        kernels.gram(Z, Architecture(depth=0, activation="erf"))


def test_memory_is_checked_first(monkeypatch):
    monkeypatch.setattr(blocks, "available_bytes", lambda: 2**10)
    arch = Architecture(depth=2, activation="erf")
    text = (
        r"a kernel of 9 x 9 points in float64 needs 1\.21e-06 GiB and 9\.54e-07 GiB "
        r"are free: use fewer points, float32, or theory\.blocks\.map_rows"
    )
    for call in (lambda: kernels.gram(Z, arch), lambda: kernels.nngp_ntk(Z, Z, arch)):
        with pytest.raises(InputError, match=text):
            call()
    # half of it without the NTK, and in float32
    assert kernels.nngp(Z, Z, arch).shape == (9, 9)
    assert kernels.gram(Z.astype(jnp.float32), arch).ntk.shape == (9, 9)
