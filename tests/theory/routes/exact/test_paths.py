"""Paths of training time and ridge against the exact route, an ODE and networks."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from closeness import raises, within
from problems import erf_kernels, prototypes

from ntk_corrupt.ensembles import ensemble
from ntk_corrupt.training.config import TrainConfig
from theory import exact
from theory.activations import closed_forms, registry
from theory.corruption.copies import corrupt
from theory.corruption.corruptions import ClippedAdditive, Replacement
from theory.corruption.noises import Rademacher
from theory.errors import NumericalError
from theory.kernels.architecture import Architecture
from theory.numerics import memory
from theory.routes.exact import draw_loop, eigen_draw
from theory.routes.exact.paths import ridge_path, trajectory

# One shape and one depth in most tests: few compilations.
PROBLEM = prototypes((6, 5, 3, 2))
ERF = Architecture(depth=3, activation="erf", w_var=1.3, b_var=0.1)
SIGNS = Rademacher()
NOISE = Replacement(p=0.6, noise=SIGNS)
CLEAN = Replacement(p=0.0, noise=SIGNS)
KEY = jax.random.key(4)
TIMES = (0.0, 0.7, 30.0, np.inf)
# n eps = 3.6e-15 of solves of numbers of order one; conditions are below 1e3.
SOLVED = 1e-11


def follow(grid: Any = TIMES, arch=ERF, noise=NOISE, problem=PROBLEM, **settings):
    settings: dict[str, Any] = {"times": grid, "draws": 2, "key": KEY} | settings
    return trajectory(arch, noise, problem, **settings)


def shrink(grid, arch=ERF, noise=NOISE, problem=PROBLEM, **settings):
    settings: dict[str, Any] = {"ridges": grid, "draws": 2, "key": KEY} | settings
    return ridge_path(arch, noise, problem, **settings)


def run(problem=PROBLEM, **settings):
    settings: dict[str, Any] = {"draws": 2, "key": KEY} | settings
    return exact(ERF, NOISE, problem, **settings)


def known(array):
    assert array is not None
    return np.asarray(array)


@pytest.fixture(scope="module")
def path():
    return follow()


def check_step(path, step, draws):
    """One step of a path is what the exact route gives."""
    at = path.at(step)
    close(at.outputs, draws.outputs)
    close(known(at.init_var), known(draws.init_var))
    np.testing.assert_array_equal(at.draw_keys, draws.draw_keys)
    for name in ("train_mse", "truncation_error"):
        close(at.diagnostics[name], draws.diagnostics[name])


def close(actual, expected):
    """Up to the rounding of a solve."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=SOLVED)


# --- times ------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(len(TIMES)))
def test_every_time_is_an_exact_run(path, step):
    check_step(
        path, step, exact(ERF, NOISE, PROBLEM, draws=2, key=KEY, time=TIMES[step])
    )
    np.testing.assert_array_equal(path.grid, [TIMES, TIMES])


def test_the_end_is_training_to_the_end(path):
    check_step(path, 3, run())


def test_the_start(path):
    outputs = np.asarray(path.outputs)
    np.testing.assert_array_equal(outputs[:, 0], 0)
    close(np.asarray(path.train_mse)[:, 0], 0.25)  # one-hot, four classes
    settings = {"depth": 3, "w_var": 1.3, "b_var": 0.1}
    prior = np.diagonal(erf_kernels(PROBLEM.x_test, PROBLEM.x_test, **settings)[0])
    close(known(path.init_var)[:, 0], [prior, prior])
    x = corrupt(NOISE, KEY, 0, PROBLEM.x_train)
    variances = np.diagonal(erf_kernels(x, x, **settings)[0])
    close(np.asarray(path.init_mse)[0, 0], variances.mean())
    # and the first step is along the targets: to time times the largest eigenvalue
    early = follow((1e-7, 0.0, 0.0, 0.0))
    rows = erf_kernels(PROBLEM.x_test, x, **settings)[1]
    np.testing.assert_allclose(
        np.asarray(early.outputs)[0, 0] / 1e-7,
        rows @ np.asarray(PROBLEM.y),
        rtol=1e-5,
        atol=1e-5,
    )


def test_training_solves_the_differential_equation(path):
    # Function space: df/dt = -Theta(., X) (f(X) - y), on training and test points.
    x = np.asarray(corrupt(NOISE, KEY, 1, PROBLEM.x_train))
    points = np.concatenate([x, np.asarray(PROBLEM.x_test)])
    nngp, ntk = erf_kernels(points, points, depth=3, w_var=1.3, b_var=0.1)
    n = len(x)

    def solved(start, y, time):
        def slope(_, f):
            f = f.reshape(start.shape)
            return -(ntk[:, :n] @ (f[:n] - y)).ravel()

        end = scipy.integrate.solve_ivp(
            slope, (0, time), start.ravel(), method="DOP853", rtol=1e-10, atol=1e-12
        )
        return end.y[:, -1].reshape(start.shape)

    y = np.asarray(PROBLEM.y)
    root = np.linalg.cholesky(nngp + 1e-13 * np.eye(len(nngp)))
    for step in (1, 2):
        f = solved(np.zeros((len(points), 4)), y, TIMES[step])
        # of steps within 1e-10, in errors that shrink
        outputs = np.asarray(path.outputs)[1, step]
        np.testing.assert_allclose(outputs, f[n:], rtol=0, atol=1e-8)
        mse = ((f[:n] - y) ** 2).mean()
        found = np.asarray(path.train_mse)[1, step]
        np.testing.assert_allclose(found, mse, rtol=1e-6, atol=1e-9)
        # an initial function of covariance K, with nothing to learn, by its roots
        f = solved(root, np.zeros((n, len(points))), TIMES[step])
        variance = (f**2).sum(axis=1)
        np.testing.assert_allclose(known(path.init_var)[1, step], variance[n:], 1e-7)
        found = np.asarray(path.init_mse)[1, step]
        np.testing.assert_allclose(found, variance[:n].mean(), rtol=1e-6, atol=1e-9)


def test_networks_trained_by_gradient_descent_keep_this_clock():
    # Linear networks have a constant kernel, at any width: 16 images of 20 pixels.
    arch = Architecture(depth=1, activation="erf", w_var=0.8, b_var=0.1)
    rate, steps, inits = 0.4, 200, 400
    times = 2 * rate * steps / (16 * 4)
    found = follow((times,), arch, draws=1)
    nets = ensemble.measure(
        arch,
        NOISE,
        PROBLEM,
        draws=1,
        inits=inits,
        key=KEY,
        config=TrainConfig(optimiser="gd", learning_rate=rate, epochs=steps),
        parametrisation="ntk",
        member_block=inits,
    )
    # 2e-3: of steps of finite size
    outputs = np.asarray(nets.outputs[0])
    expected = np.asarray(found.outputs)[0, 0]
    within(outputs, expected, slack=2e-3)
    spread = (outputs - expected) ** 2
    within(spread, known(found.init_var)[0, 0][:, None] * np.ones(4), slack=2e-3)
    loss = found.train_mse[0, 0] + found.init_mse[0, 0]
    within(np.asarray(nets.diagnostics["train_loss"][0]), loss, slack=2e-3)
    assert found.train_mse[0, 0] > 0.02
    assert found.init_mse[0, 0] > 0.01


# --- stopping rules ---------------------------------------------------------------


@pytest.mark.parametrize("inits", [None, 1, 5])
def test_training_stops_at_the_loss_asked_for(inits):
    targets = [0.1, 1e-2, 1e-3, 1e-4]
    path = follow(times=None, train_mse=targets, inits=inits)
    share = 0.0 if inits is None else 1 / inits
    # bisected to the last digits of the logarithm of time
    loss = np.asarray(path.train_mse) + share * np.asarray(path.init_mse)
    np.testing.assert_allclose(loss, [targets, targets], rtol=1e-10)
    grid = np.asarray(path.grid)
    assert (np.diff(grid, axis=1) > 0).all()
    assert (grid[0] != grid[1]).all()
    again = follow(grid[1], first_draw=1, draws=1)
    close(np.asarray(again.outputs)[0], np.asarray(path.outputs)[1])


def test_training_need_not_begin():
    path = follow(times=None, train_mse=[1.0, 0.5, 0.3, 0.25 + 1e-12])
    np.testing.assert_array_equal(path.grid, 0)
    np.testing.assert_array_equal(path.outputs, 0)


def test_a_loss_out_of_reach_is_refused():
    # the same image with two labels
    x = PROBLEM.x_train
    labels = np.asarray(PROBLEM.labels_train)
    other = int(np.flatnonzero(labels != labels[0])[0])
    torn = dataclasses.replace(PROBLEM, x_train=x.at[other].set(x[0]))
    with raises(
        "`train_mse` 0.001 is out of reach: the kernel is sing", NumericalError
    ):
        follow(noise=CLEAN, problem=torn, times=None, train_mse=[0.2, 0.1, 1e-3, 1e-4])
    floor = 2 * 2 * 0.5**2 / (16 * 4)  # two points, two classes, off by a half
    path = follow(
        noise=CLEAN, problem=torn, times=None, train_mse=[0.2, 0.1, 0.05, 1.01 * floor]
    )
    found = np.asarray(path.train_mse)[:, 3]
    np.testing.assert_allclose(found, 1.01 * floor, rtol=1e-8)


def test_the_best_time_of_a_validation_set():
    path = follow((0.0, 0.5, 5.0, 1e9))
    labels = np.asarray(PROBLEM.labels_test)
    held = np.array([0, 1, 3, 6])
    some = path.points(held)
    assert some.outputs.shape == (2, 4, 4, 4)
    for inits in (None, 3):
        each = np.asarray(some.accuracies(labels[held], inits))
        assert each.shape == (2, 4)
        for step, time in enumerate((0.0, 0.5, 5.0, 1e9)):
            one = run(time=time)
            given = dataclasses.replace(
                one,
                outputs=np.asarray(one.outputs)[:, :, held],
                init_var=known(one.init_var)[:, held],
            )
            np.testing.assert_allclose(
                each[:, step], given.accuracies(labels[held], inits), rtol=1e-8
            )
        assert some.best(labels[held], inits) == each.mean(axis=0).argmax() > 0


# --- ridges -----------------------------------------------------------------------


def test_every_ridge_is_an_exact_run():
    ridges = (0.0, 0.2, 3.0, 1.0)
    path = shrink(ridges)
    for step, ridge in enumerate(ridges):
        check_step(path, step, run(ridge=ridge))
    # what the start of a network adds to the training error: (1 - Theta P) f_0
    x = corrupt(NOISE, KEY, 0, PROBLEM.x_train)
    nngp, ntk = erf_kernels(x, x, depth=3, w_var=1.3, b_var=0.1)
    left = 3.0 * np.linalg.inv(ntk + 3.0 * np.eye(16))
    np.testing.assert_allclose(
        np.asarray(path.init_mse)[0, 2], np.trace(left @ nngp @ left) / 16, rtol=1e-9
    )


# --- options ----------------------------------------------------------------------


def test_copies_and_corrupted_test_images():
    # two copies of half as many images: the exact route has the program
    half = prototypes((3, 3, 1, 1))
    options = {
        "copies": 2,
        "test_corruption": Replacement(p=0.2, noise=SIGNS),
        "problem": half,
    }
    check_step(follow((2.0,), **options), 0, run(time=2.0, **options))
    check_step(shrink([0.5], **options), 0, run(ridge=0.5, **options))


def test_without_init_var_in_float32_and_by_draws(path):
    calls = []
    bare = follow(
        (0.7, 30.0),
        problem=PROBLEM.astype(np.float32),
        with_init_var=False,
        draws=1,
        first_draw=1,
        progress=lambda *args: calls.append(args),
    )
    assert calls == [(1, 1)]
    assert bare.init_var is None
    assert bare.at(1).init_var is None
    assert bare.outputs.dtype == bare.grid.dtype == np.float32
    # in float32 16 eps times the condition, of ten, is 2e-5
    outputs, init_mse = np.asarray(path.outputs), np.asarray(path.init_mse)
    np.testing.assert_allclose(bare.outputs[0], outputs[1, 1:3], rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        np.asarray(bare.init_mse)[0], init_mse[1, 1:3], rtol=1e-3, atol=1e-5
    )


def test_test_points_need_not_fill_the_blocks(path, monkeypatch):
    # the last block of 4 overlaps the one before; n_test as nowhere else: traced here
    monkeypatch.setattr(draw_loop, "BLOCK", 4)
    x, labels = PROBLEM.x_test, PROBLEM.labels_test
    many = dataclasses.replace(
        PROBLEM,
        x_test=jnp.concatenate([x[:3], x]),
        labels_test=jnp.concatenate([labels[:3], labels]),
    )
    whole = follow(problem=many).points(slice(-7, None))
    close(whole.outputs, path.outputs)
    close(known(whole.init_var), known(path.init_var))


# --- refusals ---------------------------------------------------------------------


def test_singular_kernels(monkeypatch):
    x = PROBLEM.x_train
    twice = dataclasses.replace(PROBLEM, x_train=x.at[9].set(x[2]))
    follow((2.0,) * 4, noise=CLEAN, problem=twice)
    with raises("training images 2 and 9 are identical", NumericalError):
        follow((2.0, 2.0, 2.0, np.inf), noise=CLEAN, problem=twice)
    shrink([0.1, 1.0, 1.0, 1.0], noise=CLEAN, problem=twice)
    with raises("training images 2 and 9 are identical", NumericalError):
        shrink([0.1, 0.0, 1.0, 1.0], noise=CLEAN, problem=twice)
    with raises("or raise `ridge` (now 1e-17)", NumericalError):
        shrink([1e-17, 1.0, 1.0, 1.0], noise=CLEAN, problem=twice)
    # where rounding makes the zero eigenvalue negative, it may not grow
    one_draw = eigen_draw.one_draw

    def rounded_down(*args, **settings):
        found = one_draw(*args, **settings)
        found["diagnostics"]["margin"] = jnp.asarray(-1e-15)
        return found

    monkeypatch.setattr(eigen_draw, "one_draw", rounded_down)
    follow((2.0,) * 4, noise=CLEAN, problem=twice)
    with raises("training images 2 and 9 are identical", NumericalError):
        follow((2.0, 2.0, 2.0, 1e30), noise=CLEAN, problem=twice)


def test_indefinite_kernels():
    # a dual that is too large off the diagonal
    erf = registry.get("erf").dual
    bent = closed_forms.ClosedForm(
        lambda *q: jax.tree.map(lambda part: 4 * part, erf.pair(*q)), erf.diag
    )
    phi = registry.Activation("bent", registry.get("erf").fn, bent)
    arch = Architecture(depth=2, activation=phi)
    with raises("is indefinite", NumericalError):
        follow((1.0,), arch=arch, with_init_var=False)
    with raises("is indefinite", NumericalError):
        shrink([1e-3], arch=arch, with_init_var=False)


def test_a_truncated_series_is_refused():
    coarse = registry.custom(jnp.tanh, terms=4, name="coarse")
    with raises("the dual of coarse is truncated with relative error ", NumericalError):
        follow(
            (1.0,),
            arch=Architecture(depth=2, activation=coarse),
            with_init_var=False,
        )


def test_more_than_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 6 * 16**2 * 8)
    follow()
    monkeypatch.setattr(memory, "available_bytes", lambda: 6 * 16**2 * 8 - 1)
    with raises("the exact kernel of 16 training images in float64 needs "):
        follow()
    with raises("the exact kernel of 16 training images in float64 needs "):
        shrink([0.1])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"times": [1.0, -1.0]}, "`times` must be not negative, got -1.0"),
        ({"times": [np.nan]}, "`times` must be not negative, got nan"),
        ({"times": []}, "`times` must be a sequence of numbers, got shape (0,)"),
        ({"times": None}, "pass one of `times` and `train_mse`"),
        ({"train_mse": [0.1]}, "pass one of `times` and `train_mse`"),
        ({"inits": 2}, "`inits` must be at least 1 and go with `train_mse`, got 2"),
        (
            {"times": None, "train_mse": [0.1], "inits": 0},
            "`inits` must be at least 1 and go with `train_mse`, got 0",
        ),
        (
            {"times": None, "train_mse": [0.0]},
            "`train_mse` must be finite and positive, got 0.0",
        ),
        ({"draws": 0}, "`draws` must be an integer of at least 1, got 0"),
        ({"copies": 0}, "`copies` must be an integer of at least 1, got 0"),
        (
            {"test_corruption": ClippedAdditive(sigma=0.1)},
            "`test_corruption`: ClippedAdditive needs pixels in [0, 1]",
        ),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense(settings, text):
    with raises(text):
        follow(**settings)


def test_ridges_that_make_no_sense():
    for bad in (-0.1, np.inf):
        with raises(f"`ridges` must be finite and not negative, got {bad}"):
            shrink([bad])
