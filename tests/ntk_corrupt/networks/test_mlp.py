import jax
import jax.numpy as jnp
import numpy as np
import pytest
from activation_cases import CASES, reference_kernels
from closeness import within

import theory
from ntk_corrupt.networks import layers, mlp

D, C = 6, 3
X = jnp.asarray(np.random.default_rng(0).normal(size=(4, D)))
ROUNDING = (
    64 * np.finfo(float).eps
)  # of sums of 16 numbers of size one, in a few layers


def ensemble(model, count, seed=1):
    """Parameters and outputs at X of `count` networks at initialisation."""

    @jax.jit
    @jax.vmap
    def one(key):
        params = model.init(key, X[:1])
        return params, model.apply(params, X)

    return one(jax.random.split(jax.random.key(seed), count))


def erf_covariance(x, depth, w_var, b_var):
    """Covariance of the outputs, by the arcsine formula, in NumPy."""
    k = w_var * x @ x.T / x.shape[1] + b_var
    for _ in range(depth - 1):
        s = np.sqrt(1 + 2 * np.diag(k))
        k = w_var * 2 / np.pi * np.arcsin(2 * k / np.outer(s, s)) + b_var
    return k


def tangent_kernel(model, params):
    jacobian = jax.jacobian(lambda p: model.apply(p, X)[:, 0])(params)
    parts = jax.tree.map(
        lambda j: j.reshape(len(X), -1) @ j.reshape(len(X), -1).T, jacobian
    )
    return parts["params"]


@pytest.mark.parametrize("parametrisation", layers.PARAMETRISATIONS)
@pytest.mark.parametrize("depth", [1, 3])
def test_covariance_at_initialisation(parametrisation, depth):
    arch = theory.Architecture(depth=depth, activation="erf", w_var=1.7, b_var=0.3)
    width = 32
    model = mlp.mlp(arch, width, C, parametrisation=parametrisation)
    _, f = ensemble(model, 4000)
    f = np.asarray(f)
    products = np.einsum("mic,mjc->mij", f, f) / C
    expected = erf_covariance(np.asarray(X), depth, 1.7, 0.3)
    # Covariances of a layer are random, with a variance of order 1/width, and those of
    # the next are functions of them that bend: the mean is off by less than 1/width.
    within(products, expected, slack=1 / width if depth > 2 else 0.0)
    within(f.mean(2), np.zeros(len(X)))


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_tangent_kernel_of_wide_networks(activation):
    # Mean over networks of the empirical kernel, in the NTK parametrisation.
    arch = theory.Architecture(depth=3, activation=activation, w_var=1.5, b_var=0.2)
    model = mlp.mlp(arch, 256, C, parametrisation="ntk")
    params, _ = ensemble(model, 40)
    total = lambda p: sum(jax.tree.leaves(tangent_kernel(model, p)), start=0.0)
    kernels = jax.jit(jax.vmap(total))(params)
    (case,) = (case for case in CASES if case.name == activation)
    _, expected = reference_kernels(
        case, *[np.asarray(X)] * 2, depth=3, w_var=1.5, b_var=0.2, w_rates=(1,) * 3,
        b_rates=(0.2,) * 3,
    )  # fmt: skip
    # what is off in each of the two hidden layers is of order 1/width
    within(kernels, expected, slack=5 / 256 * np.abs(expected))


def test_standard_parametrisation_moves_at_the_rates_of_the_theory():
    # The same function in both parametrisations: layer by layer the kernels differ by
    # exactly the rates a_l = fan_in/w_var and b_l/b_var = 1/b_var.
    width, w_var, b_var = 16, 1.5, 0.2
    arch = theory.Architecture(depth=3, activation="erf", w_var=w_var, b_var=b_var)
    ntk = mlp.mlp(arch, width, C, parametrisation="ntk")
    standard = mlp.mlp(arch, width, C)
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64),
        jax.jit(ntk.init)(jax.random.key(3), X[:1]),
    )
    fan_ins = {"layer_1": D, "layer_2": width, "layer_3": width}
    mapped = {
        "params": {
            name: {
                "kernel": params["params"][name]["kernel"] * np.sqrt(w_var / fan_in),
                "bias": params["params"][name]["bias"] * np.sqrt(b_var),
            }
            for name, fan_in in fan_ins.items()
        }
    }

    @jax.jit
    def both(mapped, params):
        pairs = (standard, mapped), (ntk, params)
        return [(m.apply(p, X), tangent_kernel(m, p)) for m, p in pairs]

    (ours, our_kernel), (theirs, their_kernel) = both(mapped, params)
    np.testing.assert_allclose(ours, theirs, rtol=ROUNDING, atol=ROUNDING)
    rates = theory.Architecture.standard(
        widths=tuple(fan_ins.values()), activation="erf", w_var=w_var, b_var=b_var
    )
    assert rates.w_rates is not None
    for rate, name in zip(rates.w_rates, fan_ins, strict=True):
        for part, factor in (("kernel", rate), ("bias", 1 / b_var)):
            expected = factor * np.asarray(their_kernel[name][part])
            np.testing.assert_allclose(
                our_kernel[name][part],
                expected,
                rtol=ROUNDING,
                atol=ROUNDING * np.abs(expected).max(),
                err_msg=f"{name} {part}",
            )


def test_biases():
    arch = theory.Architecture(depth=2, activation="tanh")
    standard = jax.jit(mlp.mlp(arch, 8, C).init)(jax.random.key(0), X)["params"]
    assert (np.asarray(standard["layer_1"]["bias"]) == 0).all()
    for model in (
        mlp.mlp(arch, 8, C, parametrisation="ntk"),
        mlp.mlp(arch, 8, C, biases=False),
    ):
        params = jax.eval_shape(model.init, jax.random.key(0), X)["params"]
        assert set(params["layer_1"]) == {"kernel"}


def test_depth_one_is_linear():
    model = mlp.mlp(theory.Architecture(depth=1, activation="erf"), None, C)
    kernel = np.random.default_rng(1).normal(size=(C, D))
    bias = np.random.default_rng(2).normal(size=(1, C))
    params = {"params": {"layer_1": {"kernel": kernel, "bias": bias}}}
    shapes = jax.eval_shape(model.init, jax.random.key(0), X)
    assert jax.tree.map(np.shape, shapes) == jax.tree.map(np.shape, params)
    found = np.asarray(jax.jit(model.apply)(params, X))
    expected = np.asarray(X) @ kernel.T + bias
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)


def test_parameters_are_float32_and_share_no_numbers_across_widths():
    arch = theory.Architecture(depth=3, activation="erf")
    make = lambda width: mlp.mlp(arch, width, C, parametrisation="ntk")
    narrow, wide = jax.jit(lambda key: [make(width).init(key, X) for width in (8, 16)])(
        jax.random.key(0)
    )
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(wide))
    for a, b in zip(jax.tree.leaves(narrow), jax.tree.leaves(wide), strict=True):
        assert np.intersect1d(a, b).size == 0


def test_equal_settings_give_equal_modules():
    make = lambda: mlp.mlp(theory.Architecture(depth=2, activation="erf"), 8, C)
    assert make() == make()
    assert hash(make()) == hash(make())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"width": 0}, "`width` must be an integer of at least 1, got 0"),
        ({"width": None}, "`width` must be an integer of at least 1, got None"),
        ({"num_classes": True}, "`num_classes` must be an integer"),
        (
            {"parametrisation": "nkt"},
            "unknown parametrisation 'nkt': did you mean 'ntk'",
        ),
        ({"biases": False}, "`biases` must be True for `b_var` 0.1"),
    ],
)
def test_bad_settings(settings, text):
    arch = theory.Architecture(depth=2, activation="erf", b_var=0.1)
    settings = {"width": 8, "num_classes": C} | settings
    width, num_classes = settings.pop("width"), settings.pop("num_classes")
    with pytest.raises(theory.InputError, match=text):
        mlp.mlp(arch, width, num_classes, **settings)
