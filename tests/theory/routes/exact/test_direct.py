"""The exact route against plain NumPy, sampled priors and matrix exponentials."""

import dataclasses
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from closeness import raises, within
from problems import erf_kernels, prototypes

from theory import exact, keys
from theory.activations import closed_forms, registry
from theory.corruption.copies import corrupt
from theory.corruption.corruptions import Additive, ClippedAdditive, Replacement
from theory.corruption.noises import Rademacher
from theory.errors import InputError, NumericalError
from theory.kernels.architecture import Architecture
from theory.numerics import memory
from theory.routes.exact import draw_loop

# One shape and one depth in most tests: one compilation.
PROBLEM = prototypes((6, 5, 3, 2))
ERF = Architecture(depth=3, activation="erf", w_var=1.3, b_var=0.1)
# A sign is exact in float32; products and sums round as the compiler fuses them.
SIGNS = Rademacher()
NOISE = Replacement(p=0.6, noise=SIGNS)
KEY = jax.random.key(4)
COPIES = 3
# n eps = 3.6e-15 of solves of numbers of order one; conditions are below 1e3.
SOLVED = 1e-11


def settings(arch):
    """Keyword arguments of `erf_kernels`."""
    return {
        name: getattr(arch, name)
        for name in ("depth", "w_var", "b_var", "w_rates", "b_rates")
    }


def smoother(ntk, ridge=0.0, time=None):
    """P of docs/theory/training.md (8), without Cholesky and without eigenvalues."""
    n = len(ntk)
    if time is None:
        return np.linalg.inv(ntk + ridge * np.eye(n))
    # d/dt W = 1 - Theta W from W = 0
    flow = scipy.linalg.expm(
        time * np.block([[-ntk, np.eye(n)], [np.zeros((n, 2 * n))]])
    )
    return flow[:n, n:]


def by_hand(arch, x, problem, **kwargs):
    """Outputs and init_var of the corrupted training images `x`."""
    x_test, settled = problem.x_test, settings(arch)
    nngp, ntk = erf_kernels(x, x, **settled)
    nngp_test, ntk_test = erf_kernels(x_test, x, **settled)
    prior = np.diagonal(erf_kernels(x_test, x_test, **settled)[0])
    rows = ntk_test @ smoother(ntk, **kwargs)
    init_var = (
        prior
        - 2 * (rows * nngp_test).sum(axis=1)
        + np.einsum("na,ab,nb->n", rows, nngp, rows)
    )
    return rows @ np.asarray(problem.y), init_var


def check_by_hand(arch, noise, problem, **kwargs):
    draws = exact(arch, noise, problem, draws=2, key=KEY, **kwargs)
    assert draws.outputs.shape == (2, 1, *problem.x_test.shape[:1], 4)
    for k in range(2):
        x = corrupt(noise, KEY, k, problem.x_train)
        outputs, init_var = by_hand(arch, x, problem, **kwargs)
        close(np.asarray(draws.outputs)[k, 0], outputs)
        close(known(draws.init_var)[k], init_var)
    return draws


def close(actual, expected):
    """Up to the rounding of a solve."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=SOLVED)


def known(array):
    assert array is not None
    return np.asarray(array)


# --- outputs and init_var ---------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_outputs_and_init_var_by_hand(p, ridge):
    draws = check_by_hand(ERF, Replacement(p=p, noise=SIGNS), PROBLEM, ridge=ridge)
    assert (draws.diagnostics["margin"] > 0).all()
    if not ridge:
        assert (draws.diagnostics["train_mse"] < SOLVED**2).all()
        np.testing.assert_array_equal(draws.diagnostics["truncation_error"], 0)


def test_other_depths_and_rates_by_hand():
    rated = Architecture(
        depth=2,
        activation="erf",
        w_var=0.8,
        w_rates=(0.5, 2.0),
        b_rates=(0.3, 0.7),
    )
    check_by_hand(rated, Additive(p=0.8, noise=SIGNS), PROBLEM)


def test_a_linear_model_is_ridge_regression():
    # Theta = x.x'/d: the dual form of regression with penalty ridge d
    arch, ridge = Architecture(depth=1, activation="erf"), 0.2
    draws = check_by_hand(arch, NOISE, PROBLEM, ridge=ridge)
    x = np.asarray(corrupt(NOISE, KEY, 0, PROBLEM.x_train))
    d = x.shape[1]
    weights = np.linalg.solve(x.T @ x + ridge * d * np.eye(d), x.T @ PROBLEM.y)
    close(np.asarray(draws.outputs)[0, 0], np.asarray(PROBLEM.x_test) @ weights)


@pytest.mark.parametrize("time", [0.0, 0.7, 30.0])
def test_finite_time_solves_the_flow(time):
    draws = check_by_hand(ERF, NOISE, PROBLEM, time=time)
    if time == 0:
        np.testing.assert_array_equal(draws.outputs, 0)
        prior = np.diagonal(
            erf_kernels(PROBLEM.x_test, PROBLEM.x_test, **settings(ERF))[0]
        )
        np.testing.assert_allclose(known(draws.init_var), [prior, prior], rtol=1e-12)


def test_long_training_is_training_to_the_end():
    end = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY)
    long = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY, time=1e12)
    close(long.outputs, end.outputs)
    close(known(long.init_var), known(end.init_var))
    mse = [
        exact(ERF, NOISE, PROBLEM, draws=1, key=KEY, time=t).diagnostics["train_mse"][0]
        for t in (0.0, 1.0, 10.0, 100.0)
    ]
    np.testing.assert_allclose(mse[0], 0.25, rtol=1e-12)  # one-hot, four classes
    assert mse == sorted(mse, reverse=True)


def test_infinite_time_is_training_to_the_end():
    end = exact(ERF, NOISE, PROBLEM, draws=1, key=KEY)
    forever = exact(ERF, NOISE, PROBLEM, draws=1, key=KEY, time=np.inf)
    close(forever.outputs, end.outputs)


@pytest.mark.parametrize(
    ("ridge", "time"), [(0.0, None), (0.4, None), (0.0, 3.0)], ids=str
)
def test_init_var_is_that_of_sampled_initialisations(ridge, time):
    draws = exact(ERF, NOISE, PROBLEM, draws=1, key=KEY, ridge=ridge, time=time)
    x = np.asarray(corrupt(NOISE, KEY, 0, PROBLEM.x_train))
    n = len(x)
    everything = np.concatenate([x, np.asarray(PROBLEM.x_test)])
    nngp, ntk = erf_kernels(everything, everything, **settings(ERF))
    root = np.linalg.cholesky(nngp + 1e-12 * np.eye(len(nngp)))
    start = np.random.default_rng(0).normal(size=(20_000, len(nngp))) @ root.T
    rows = ntk[n:, :n] @ smoother(ntk[:n, :n], ridge, time)
    trained = start[:, n:] - start[:, :n] @ rows.T
    within(trained, np.zeros(len(rows)))
    within(trained**2, known(draws.init_var)[0])


def test_ridge_shrinks_and_leaves_training_error():
    free, shrunk = (
        exact(ERF, NOISE, PROBLEM, draws=1, key=KEY, ridge=ridge)
        for ridge in (0.0, 1.0)
    )
    assert shrunk.diagnostics["train_mse"][0] > 1e-3 > free.diagnostics["train_mse"][0]
    assert shrunk.diagnostics["margin"][0] > free.diagnostics["margin"][0]


# --- copies and corrupted test images ---------------------------------------------


def copies_by_hand(noise, draw, x, copies):
    """Rows of all copies, by the documented keys."""
    own = jax.random.fold_in(KEY, draw)
    more = jax.random.fold_in(own, zlib.crc32(b"copies"))
    keys = [own] + [jax.random.fold_in(more, r) for r in range(1, copies)]
    return np.concatenate([noise.apply(key, x) for key in keys])


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_copies_and_corrupted_test_images_by_hand(ridge):
    ask = Replacement(p=0.2, noise=SIGNS)
    draws = exact(
        ERF,
        NOISE,
        PROBLEM,
        draws=2,
        key=KEY,
        ridge=ridge,
        copies=COPIES,
        test_corruption=ask,
    )
    for k in range(2):
        own = jax.random.fold_in(KEY, k)
        test_key = jax.random.fold_in(own, zlib.crc32(b"test"))
        asked = dataclasses.replace(
            PROBLEM,
            x_test=ask.apply(test_key, PROBLEM.x_test),
            labels_train=jnp.tile(PROBLEM.labels_train, COPIES),
        )
        x = copies_by_hand(NOISE, k, PROBLEM.x_train, COPIES)
        outputs, init_var = by_hand(ERF, x, asked, ridge=ridge)
        close(np.asarray(draws.outputs)[k, 0], outputs)
        close(known(draws.init_var)[k], init_var)
    plain = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY)
    np.testing.assert_array_equal(draws.draw_keys, plain.draw_keys)


@pytest.mark.parametrize("options", [{"ridge": 0.2}, {"time": 3.0}], ids=str)
def test_clean_copies_divide_the_ridge_and_the_time(options):
    clean = Replacement(p=0.0, noise=SIGNS)
    one = exact(ERF, clean, PROBLEM, draws=1, key=KEY, **options)
    factor = {"ridge": COPIES, "time": 1 / COPIES}
    options = {name: factor[name] * value for name, value in options.items()}
    more = exact(ERF, clean, PROBLEM, draws=1, key=KEY, copies=COPIES, **options)
    close(more.outputs, one.outputs)
    close(known(more.init_var), known(one.init_var))


def test_clean_copies_are_named():
    clean = Replacement(p=0.0, noise=SIGNS)
    text = "images 0 and 16 of 3 copies of 16 images are identical (32 duplicates in"
    with raises(text, NumericalError):
        exact(ERF, clean, PROBLEM, draws=1, key=KEY, copies=COPIES)


def test_copies_average_the_noise_away():
    # many copies are smoother than one, towards what clean images teach
    noise = Replacement(p=0.5, noise=SIGNS)
    clean = exact(ERF, Replacement(p=0.0, noise=SIGNS), PROBLEM, draws=1, key=KEY)
    off = []
    for copies in (1, 8):
        found = exact(
            ERF, noise, PROBLEM, draws=4, key=KEY, copies=copies, with_init_var=False
        )
        off.append(np.abs(np.asarray(found.outputs) - clean.outputs).mean())
    assert off[1] < 0.8 * off[0]


def test_strength_zero_leaves_the_test_images():
    same = Replacement(p=0.0, noise=SIGNS)
    one = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY, test_corruption=same)
    two = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY)
    close(one.outputs, two.outputs)


# --- what must not matter ---------------------------------------------------------


def test_pure_noise_forgets_the_training_images():
    # one program, of the same signs
    noise = Replacement(p=1.0, noise=SIGNS)
    other = dataclasses.replace(PROBLEM, x_train=-2 * PROBLEM.x_train)
    one, two = (exact(ERF, noise, pr, draws=2, key=KEY) for pr in (PROBLEM, other))
    np.testing.assert_array_equal(one.outputs, two.outputs)
    np.testing.assert_array_equal(known(one.init_var), known(two.init_var))


def test_pure_noise_sees_a_test_image_by_its_length_alone():
    # Gaussian noise has no directions: over draws, images of one length are alike.
    problem = prototypes((4, 4, 4, 4), n_test=7)  # standardised, so of one length
    noise = Additive(p=1.0)
    outputs = np.asarray(exact(ERF, noise, problem, draws=60, key=KEY).outputs)[:, 0]
    within(outputs - np.roll(outputs, 1, axis=1), np.zeros((7, 4)))
    # nor has it classes, where they are balanced
    within(outputs - np.roll(outputs, 1, axis=2), np.zeros((7, 4)))
    assert outputs.std(axis=0).min() > 0.01


def test_draws_are_numbered():
    three = exact(ERF, NOISE, PROBLEM, draws=3, key=KEY)
    two = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY, first_draw=1)
    np.testing.assert_array_equal(two.outputs, three.outputs[1:])
    np.testing.assert_array_equal(known(two.init_var), known(three.init_var)[1:])
    np.testing.assert_array_equal(two.draw_keys, known(three.draw_keys)[1:])
    for k in range(3):
        expected = jax.random.key_data(keys.draw_key(KEY, k))
        np.testing.assert_array_equal(known(three.draw_keys)[k], expected)
    assert len({row.tobytes() for row in np.asarray(three.outputs)}) == 3


def test_the_order_of_training_images_does_not_matter_without_noise():
    order = np.random.default_rng(0).permutation(16)
    shuffled = dataclasses.replace(
        PROBLEM,
        x_train=PROBLEM.x_train[order],
        labels_train=PROBLEM.labels_train[order],
    )
    one, two = (
        exact(ERF, Replacement(p=0.0, noise=SIGNS), pr, draws=1, key=KEY)
        for pr in (PROBLEM, shuffled)
    )
    close(one.outputs, two.outputs)
    close(known(one.init_var), known(two.init_var))


@pytest.mark.parametrize("n_test", [1, 10])
def test_test_points_need_not_fill_the_blocks(n_test, monkeypatch):
    # the last block of 4 overlaps the one before; n_test as nowhere else: traced here
    monkeypatch.setattr(draw_loop, "BLOCK", 4)
    problem = prototypes((6, 5, 3, 2), n_test=n_test)
    check_by_hand(ERF, NOISE, problem)


def test_without_init_var():
    bare = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY, with_init_var=False)
    full = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY)
    assert bare.init_var is None
    close(bare.outputs, full.outputs)


def test_progress_is_reported_after_each_draw():
    calls = []
    exact(
        ERF,
        NOISE,
        PROBLEM,
        draws=3,
        key=KEY,
        progress=lambda *args: calls.append(args),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_diagnostics_have_one_entry_per_draw():
    draws = exact(ERF, NOISE, PROBLEM, draws=3, key=KEY)
    assert set(draws.diagnostics) == {"margin", "train_mse", "truncation_error"}
    assert {value.shape for value in draws.diagnostics.values()} == {(3,)}
    # smallest pivot over its diagonal entry, by NumPy's own factorisation
    x = corrupt(NOISE, KEY, 0, PROBLEM.x_train)
    ntk = erf_kernels(x, x, **settings(ERF))[1]
    pivots = np.diagonal(np.linalg.cholesky(ntk)) ** 2 / np.diagonal(ntk)
    np.testing.assert_allclose(draws.diagnostics["margin"][0], pivots.min(), rtol=1e-9)


def test_a_sweep_of_strength_and_ridge_compiles_once():
    calls = []

    def counting(fn):
        return lambda *args: (calls.append(fn), fn(*args))[1]

    erf = registry.get("erf")
    dual = closed_forms.ClosedForm(counting(erf.dual.pair), counting(erf.dual.diag))
    activation = registry.Activation("counted", erf.fn, dual)
    traced = []
    for p, ridge, w_var in ((0.1, 0.0, 1.0), (0.5, 0.1, 1.5), (1.0, 0.0, 2.0)):
        arch = Architecture(depth=3, activation=activation, w_var=w_var)
        settings: dict = {"ridge": ridge, "with_init_var": False}
        exact(arch, Replacement(p=p), PROBLEM, draws=2, key=KEY, **settings)
        traced.append(len(calls))
    assert traced[0] > 0
    assert traced == traced[:1] * 3


# --- float32 ----------------------------------------------------------------------


def test_float32_works_where_the_kernel_is_well_conditioned():
    single = exact(ERF, NOISE, PROBLEM.astype(np.float32), draws=2, key=KEY)
    double = exact(ERF, NOISE, PROBLEM, draws=2, key=KEY)
    assert single.outputs.dtype == known(single.init_var).dtype == np.float32
    x = corrupt(NOISE, KEY, 0, PROBLEM.x_train)
    condition = np.linalg.cond(erf_kernels(x, x, **settings(ERF))[1])
    rounding = 16 * float(np.finfo(np.float32).eps) * condition
    for one, two in (
        (single.outputs, double.outputs),
        (known(single.init_var), known(double.init_var)),
    ):
        np.testing.assert_allclose(one, two, rtol=0, atol=rounding)
    np.testing.assert_array_equal(single.draw_keys, double.draw_keys)


def test_float32_says_when_float64_is_needed():
    near = PROBLEM.x_train.at[3].set(PROBLEM.x_train[1] + 1e-4)
    problem = dataclasses.replace(PROBLEM, x_train=near)
    noise = Replacement(p=0.0, noise=SIGNS)
    text = "of 16 training images in float32 is "
    for part in (text, ": float64 is needed: enable x64, or pass `ridge`"):
        with raises(part, NumericalError):
            exact(ERF, noise, problem.astype(np.float32), draws=1, key=KEY)
    assert exact(ERF, noise, problem, draws=1, key=KEY).outputs.dtype == np.float64


# --- what cannot be solved --------------------------------------------------------


def with_copies(*pairs):
    x = PROBLEM.x_train
    for copy, original in pairs:
        x = x.at[copy].set(x[original])
    return dataclasses.replace(PROBLEM, x_train=x)


def test_duplicates_are_named_and_cured_by_ridge():
    clean, twice = Replacement(p=0.0, noise=SIGNS), with_copies((9, 2))
    text = (
        "training images 2 and 9 are identical: remove the duplicates or pass `ridge`"
    )
    with raises(text, NumericalError):
        exact(ERF, clean, twice, draws=1, key=KEY)
    thrice = with_copies((9, 2), (12, 2), (8, 4))
    with raises("are identical (3 duplicates in all): remove the", NumericalError):
        exact(ERF, clean, thrice, draws=1, key=KEY)
    check_by_hand(ERF, clean, thrice, ridge=0.1)
    with raises("or raise `ridge` (now 1e-17)", NumericalError):
        exact(ERF, clean, twice, draws=1, key=KEY, ridge=1e-17)
    # corruption separates them
    check_by_hand(ERF, NOISE, twice)
    # the flow needs no inverse, unless it never ends
    check_by_hand(ERF, clean, twice, time=2.0)
    with raises(text, NumericalError):
        exact(ERF, clean, twice, draws=1, key=KEY, time=np.inf)


def test_a_kernel_of_low_rank_is_refused():
    # a linear model of 16 images in 8 pixels
    problem = prototypes((6, 5, 3, 2), d=8)
    linear = Architecture(depth=1, activation="erf")
    text = "or use an activation or a corruption that separates them"
    with raises(text, NumericalError):
        exact(linear, NOISE, problem, draws=1, key=KEY)


def test_a_truncated_series_is_refused():
    coarse = registry.custom(jnp.tanh, terms=4, name="coarse")
    arch = Architecture(depth=2, activation=coarse)
    with raises("the dual of coarse is truncated with relative error ", NumericalError):
        exact(arch, NOISE, PROBLEM, draws=1, key=KEY, with_init_var=False)


def test_more_than_the_memory_is_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 4 * 16**2 * 8)
    exact(ERF, NOISE, PROBLEM, draws=1, key=KEY)
    monkeypatch.setattr(memory, "available_bytes", lambda: 4 * 16**2 * 8 - 1)
    text = "the exact kernel of 16 training images in float64 needs 7.63e-06 GiB and "
    for part in (
        text,
        "use a smaller n_train, float32 (half of it), or theory.exact_iterative",
    ):
        with raises(part):
            exact(ERF, NOISE, PROBLEM, draws=1, key=KEY)
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 * 16**2 * 8)
    exact(ERF, NOISE, PROBLEM, draws=1, key=KEY, with_init_var=False)
    monkeypatch.setattr(memory, "available_bytes", lambda: 4 * 48**2 * 8 - 1)
    exact(ERF, NOISE, PROBLEM, draws=1, key=KEY)
    with raises("exact kernel of 16 training images, 3 copies each, in float64 needs"):
        exact(ERF, NOISE, PROBLEM, draws=1, key=KEY, copies=3)
    monkeypatch.undo()
    n = 2_000_000
    huge = dataclasses.replace(
        PROBLEM,
        x_train=jnp.zeros((n, 1)),
        labels_train=jnp.zeros(n, int),
        x_test=jnp.zeros((1, 1)),
        labels_test=jnp.zeros(1, int),
    )
    with raises(
        "the exact kernel of 2000000 training images in float64 needs 1.19e+05"
    ):
        exact(ERF, NOISE, huge, draws=1, key=KEY)


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"draws": 0}, "`draws` must be an integer of at least 1, got 0"),
        ({"draws": -2}, "`draws` must be an integer of at least 1, got -2"),
        ({"ridge": -0.1}, "`ridge` must be finite and not negative, got -0.1"),
        ({"ridge": float("nan")}, "`ridge` must be finite and not negative, got nan"),
        ({"ridge": float("inf")}, "`ridge` must be finite and not negative, got inf"),
        ({"time": -1.0}, "`time` must not be negative, got -1.0"),
        ({"time": float("nan")}, "`time` must not be negative, got nan"),
        ({"ridge": 0.1, "time": 1.0}, "`ridge` and `time` exclude each other"),
        ({"copies": 0}, "`copies` must be an integer of at least 1, got 0"),
        (
            {"test_corruption": ClippedAdditive(sigma=0.2)},
            "`test_corruption`: ClippedAdditive needs pixels in [0, 1], got ",
        ),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense(kwargs, text):
    with raises(text):
        exact(ERF, NOISE, PROBLEM, **({"draws": 1, "key": KEY} | kwargs))


def test_problems_and_noises_are_checked():
    with raises("ClippedAdditive needs pixels in [0, 1], got "):
        exact(ERF, ClippedAdditive(sigma=0.2), PROBLEM, draws=1, key=KEY)
    with raises("`p` must be a corruption level in [0, 1], got 2.0"):
        exact(ERF, Replacement(p=2.0), PROBLEM, draws=1, key=KEY)
    step = Architecture(depth=2, activation="step")
    with pytest.raises(InputError, match="step has no NTK"):
        exact(step, NOISE, PROBLEM, draws=1, key=KEY)
    bad = dataclasses.replace(PROBLEM, x_test=PROBLEM.x_test[:, :-1])
    with raises("must have the same number of inputs per point, got 20 and 19"):
        exact(ERF, NOISE, bad, draws=1, key=KEY)
