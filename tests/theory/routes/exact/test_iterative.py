"""Kernels in tiles, and the route with them, against dense algebra and `exact`."""

import dataclasses
import functools
import re
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from jax.sharding import Mesh
from problems import prototypes

from theory import Cholesky, ConjugateGradient, exact, exact_iterative
from theory.corruption.corruptions import Additive, Replacement
from theory.corruption.noises import Rademacher
from theory.kernels import matrices
from theory.kernels.architecture import Architecture
from theory.numerics import memory
from theory.routes.exact import tiles, variances

KEY = jax.random.key(4)
ONE = Mesh(np.asarray(jax.devices()[:1]), ("rows",))
ARCH = Architecture(depth=3, activation="erf", w_var=1.3, b_var=0.1)
NOISE = Replacement(p=0.6, noise=Rademacher())
# As many rows with two copies of the other: the same programs.
PROBLEM, HALF = prototypes((24, 16, 12, 8)), prototypes((12, 8, 6, 4))
SINGLE = PROBLEM.astype(jnp.float32)
EPS = float(np.finfo(float).eps)
# Rows of a tile here: 60 rows do not fill the last of three.
TILE = 24
each_solver = pytest.mark.parametrize(
    "solver", [ConjugateGradient(), Cholesky()], ids=["iterated", "factored"]
)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """As many numbers in tiles of 2048 rows would take most of the time."""
    for name in ("ntk", "nngp_product"):
        made = functools.partial(getattr(tiles, name), size=TILE)
        monkeypatch.setattr(tiles, name, made)


def points(n, d=6, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((n, d)))


def columns(n, m=3, seed=1):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((n, m)))


@pytest.fixture(scope="module")
def kernel():
    """Of 12 points: that of fewer is a corner of it."""
    return np.asarray(matrices.gram(points(12), ARCH).ntk)


# --- tiles --------------------------------------------------------------------------


@pytest.mark.parametrize("filed", [False, True])
@pytest.mark.parametrize("n", [1, 4, 7, 12])
def test_products_with_tiles(n, filed, tmp_path, kernel):
    x, v, done = points(12)[:n], columns(12)[:n], []
    matrix = tiles.ntk(
        x,
        ARCH,
        size=4,
        file=tmp_path / "kernel" if filed else None,
        progress=lambda *at: done.append(at),
    )
    expected = kernel[:n, :n] @ np.asarray(v)
    # sums of n products, twice: a kernel is not used up
    rounding = 64 * n * EPS * np.abs(kernel).max()
    for _ in range(2):
        np.testing.assert_allclose(matrix @ v, expected, rtol=0, atol=rounding)
    blocks_a_side = -(-n // 4)
    count = blocks_a_side * (blocks_a_side + 1) // 2
    assert done == [(k + 1, count) for k in range(count)]
    assert matrix.shape == (n, n)
    assert tiles.storage(n, np.dtype("float64"), 4) == count * 16 * 8
    if filed:
        assert (tmp_path / "kernel").stat().st_size == count * 16 * 8


@pytest.mark.parametrize("m", [1, tiles._LYING, tiles._LYING + 1])
def test_products_of_either_layout(m, kernel):
    matrix, v = tiles.ntk(points(12), ARCH, size=5), columns(12, m)
    rounding = 64 * 12 * EPS * np.abs(kernel).max()
    np.testing.assert_allclose(matrix @ v, kernel @ v, rtol=0, atol=rounding)


@pytest.mark.parametrize("activation", ["erf", "relu"])
@pytest.mark.parametrize("n", [1, 4, 11])
def test_products_with_the_nngp(n, activation):
    arch = dataclasses.replace(ARCH, activation=activation)
    x, v, done = points(n), columns(n), []
    found = tiles.nngp_product(x, v, arch, size=4, progress=lambda *at: done.append(at))
    expected = np.asarray(matrices.gram(x, arch).nngp) @ np.asarray(v)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    assert len(done) == done[-1][0] == done[-1][1]


def test_tiles_that_fit_nowhere(monkeypatch, tmp_path):
    with raises("`file` must name a file in a folder"):
        tiles.ntk(points(3), ARCH, file=tmp_path / "nowhere" / "kernel")
    monkeypatch.setattr(memory, "available_bytes", lambda: 10)
    with raises("half a kernel of 3 points in float64 needs"):
        tiles.ntk(points(3), ARCH, size=4)


# --- the route ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ridge": 0.3},
        {"solver": ConjugateGradient(tolerance=1e-12, recompute=True)},
        {
            "copies": 2,
            "test_corruption": Additive(p=0.5, noise=Rademacher()),
            "first_draw": 3,
        },
    ],
    ids=lambda options: ", ".join(options) or "default",
)
def test_it_is_the_exact_route(options):
    problem = HALF if "copies" in options else PROBLEM
    both: dict = {"draws": 2, "key": KEY} | options
    both.pop("solver", None)
    expected = exact(ARCH, NOISE, problem, **both)
    at = np.array([1, 4])
    found = exact_iterative(
        ARCH,
        NOISE,
        problem,
        init_var_at=at,
        draws=2,
        key=KEY,
        **({"solver": ConjugateGradient(tolerance=1e-12)} | options),
    )
    # residuals of 2e-12 of targets, and a condition of some hundreds
    np.testing.assert_allclose(found.outputs, expected.outputs, rtol=1e-9, atol=1e-9)
    assert found.init_var is not None
    assert expected.init_var is not None
    np.testing.assert_allclose(
        found.init_var, np.asarray(expected.init_var)[:, at], rtol=1e-8
    )
    np.testing.assert_array_equal(found.init_var_at, at)
    np.testing.assert_array_equal(found.draw_keys, expected.draw_keys)
    for name in ("residual", "audited_residual"):
        assert found.diagnostics[name].shape == (2,)
        # rounding of a kernel, besides the tolerance
        assert (np.asarray(found.diagnostics[name]) < 1e-11).all()


@pytest.mark.parametrize("width", [2, 256])
@each_solver
def test_test_points_that_coincide(monkeypatch, solver, width):
    # in one block with the targets, or in several
    monkeypatch.setattr(variances, "WIDTH", width)
    at = np.array([4, 1, 4, 4, 1])
    twins = dataclasses.replace(
        PROBLEM, x_test=PROBLEM.x_test.at[6].set(PROBLEM.x_test[4])
    )
    at = np.append(at, 6)
    settings: dict = {"draws": 1, "key": KEY}
    expected = exact(ARCH, NOISE, twins, **settings)
    found = exact_iterative(
        ARCH, NOISE, twins, init_var_at=at, solver=solver, **settings
    )
    assert expected.init_var is not None
    assert found.init_var is not None
    # residuals of 1e-4 and 1e-5 of targets, and a condition of some hundreds
    variance = np.asarray(expected.init_var)[:, at]
    np.testing.assert_allclose(found.init_var, variance, rtol=3e-3)
    np.testing.assert_allclose(found.outputs, expected.outputs, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.init_var[:, 5], found.init_var[:, 0], rtol=1e-3)


def test_residuals_of_the_variance_are_told():
    settings: dict = {"draws": 2, "key": KEY, "init_var_at": np.arange(7)}
    rough, fine = (
        exact_iterative(
            ARCH, NOISE, PROBLEM, solver=ConjugateGradient(tolerance=at), **settings
        )
        for at in (1e-3, 1e-9)
    )
    for found, tolerance in ((rough, 1e-3), (fine, 1e-9)):
        of_rows = np.asarray(found.diagnostics["init_var_residual"])
        assert of_rows.shape == (2,)
        assert (of_rows <= variances.SLACK * tolerance).all()
        assert (np.asarray(found.diagnostics["residual"]) <= tolerance).all()
    assert (rough.diagnostics["init_var_residual"] > 1e-6).all()
    expected = exact(ARCH, NOISE, PROBLEM, draws=2, key=KEY).init_var
    assert fine.init_var is not None
    assert expected is not None
    np.testing.assert_allclose(fine.init_var, expected, rtol=1e-6)
    factored = exact_iterative(ARCH, NOISE, PROBLEM, solver=Cholesky(), **settings)
    assert "init_var_residual" not in factored.diagnostics


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "rank", [0, pytest.param(3, marks=pytest.mark.slow), None, 100]
)
@pytest.mark.parametrize("p", [0.0, pytest.param(0.5, marks=pytest.mark.slow), 0.9])
@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_every_preconditioner_gives_the_same(activation, p, rank, dtype):
    arch = dataclasses.replace(ARCH, activation=activation)
    noise = Additive(p=p, noise=Rademacher())
    problem = PROBLEM.astype(dtype)
    settings: dict = {"draws": 1, "key": KEY, "ridge": 0.05}
    solver = ConjugateGradient(
        tolerance=1e-10 if dtype == "float64" else 1e-5, rank=rank
    )
    at = np.arange(7)
    found = exact_iterative(
        arch, noise, problem, solver=solver, init_var_at=at, **settings
    )
    # of the very images: a key draws others in the other dtype
    expected = exact(arch, noise, problem, **settings)
    error = 1e-8 if dtype == "float64" else 2e-3
    np.testing.assert_allclose(found.outputs, expected.outputs, rtol=0, atol=error)
    assert expected.init_var is not None
    scale = float(np.abs(expected.init_var).max())
    assert found.init_var is not None
    np.testing.assert_allclose(
        found.init_var, expected.init_var, rtol=0, atol=10 * error * scale
    )


def test_slack_is_of_the_tolerance():
    x, rhs = points(60), columns(60)
    solver = ConjugateGradient(tolerance=1e-9)
    solve = solver.prepared(ARCH, x, 0.1, lambda *_: None)
    fine, rough = solve(rhs), solve(rhs, slack=1e4)
    assert fine.residual is not None
    assert rough.residual is not None
    assert fine.residual.max() <= 1e-9 < rough.residual.max() <= 1e-5
    assert rough.iterations < fine.iterations
    factored = Cholesky().prepared(ARCH, x, 0.1, lambda *_: None)(rhs, slack=1e4)
    # residuals of 1e-9 and a condition of some hundreds
    np.testing.assert_allclose(fine.weights, factored.weights, rtol=0, atol=1e-6)


def test_a_kernel_in_a_file_is_deleted(tmp_path):
    file = tmp_path / "kernel"
    solver = ConjugateGradient(tolerance=1e-12)
    settings: dict = {"draws": 1, "key": KEY}
    kept: dict = settings | {"solver": dataclasses.replace(solver, file=file)}
    found = exact_iterative(ARCH, NOISE, PROBLEM, **kept)
    expected = exact_iterative(ARCH, NOISE, PROBLEM, solver=solver, **settings)
    # the same programs, of tiles that were stored and read back
    np.testing.assert_array_equal(found.outputs, expected.outputs)
    assert found.init_var is None
    assert not file.exists()
    file.write_text("mine")
    with raises("`file` must not exist"):
        exact_iterative(ARCH, NOISE, PROBLEM, **kept)
    assert file.read_text() == "mine"


def test_the_audit_sees_what_single_precision_loses():
    solver = ConjugateGradient(tolerance=1e-6)
    found = exact_iterative(
        ARCH, NOISE, SINGLE, draws=1, key=KEY, solver=solver, ridge=0.1
    )
    expected = exact(ARCH, NOISE, PROBLEM, draws=1, key=KEY, ridge=0.1)
    assert found.outputs.dtype == jnp.float32
    np.testing.assert_allclose(found.outputs, expected.outputs, rtol=0, atol=1e-4)
    audited = float(found.diagnostics["audited_residual"][0])
    # rounding of the kernel, 1e-7, times the condition of some tens
    assert 1e-8 < audited < 1e-4


@each_solver
@pytest.mark.parametrize(("activation", "ridge"), [("erf", 0.0), ("relu", 0.2)])
def test_refinement_reaches_double_precision(activation, ridge, solver):
    arch = dataclasses.replace(ARCH, activation=activation)
    settings: dict = {"draws": 1, "key": KEY, "ridge": ridge}
    expected = exact(arch, NOISE, SINGLE.astype(jnp.float64), **settings)
    errors = []
    for refine in (0, 1, 2):
        found = exact_iterative(
            arch,
            NOISE,
            SINGLE,
            solver=solver,
            refine=refine,
            **settings,
        )
        off = np.asarray(found.outputs, float) - expected.outputs
        errors.append(float(np.abs(off).max()))
        audited = float(found.diagnostics["audited_residual"][0])
        assert audited < 30 * errors[-1] + 1e-12  # where both are rounding
    assert errors[0] > 1e-8
    assert errors[1] < 1e-3 * errors[0]
    assert errors[2] < 1e-11


def test_noise_leaves_few_iterations():
    noise = Additive(p=0.95, noise=Rademacher())
    settings: dict = {"draws": 1, "key": KEY}
    draws = exact_iterative(ARCH, noise, SINGLE, **settings)
    assert draws.diagnostics["iterations"][0] < 25 < len(SINGLE.x_train)


@each_solver
def test_draws_hold_one_kernel_at_a_time(monkeypatch, solver):
    original, made = tiles.ntk, []

    def spy(*args, **options):
        assert all(kernel() is None for kernel in made)
        kernel = original(*args, **options)
        made.append(weakref.ref(kernel))
        return kernel

    monkeypatch.setattr(tiles, "ntk", spy)
    exact_iterative(ARCH, NOISE, SINGLE, draws=3, key=KEY, solver=solver)
    assert len(made) == 3


def test_progress_names_the_stages():
    seen = []
    exact_iterative(
        ARCH, NOISE, PROBLEM, draws=1, key=KEY, progress=lambda *at: seen.append(at)
    )
    of_tiles = [("kernel", k, 6) for k in range(1, 7)]
    assert seen[:6] == of_tiles
    assert [what for what, *_ in seen[6:]] == ["solve"] * (len(seen) - 6)
    assert seen[-1][2] == 500


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"draws": 0}, "`draws` must be an integer of at least 1"),
        ({"ridge": -1.0}, "`ridge` must be finite and not negative"),
        ({"solver": ConjugateGradient(tolerance=0.0)}, "`tolerance` must be positive"),
        (
            {"solver": ConjugateGradient(max_iterations=0)},
            "`max_iterations` must be an integer of at least 1",
        ),
        ({"solver": ConjugateGradient(rank=-1)}, "`rank` must be an integer"),
        ({"refine": -1}, "`refine` must be an integer of at least 0"),
        ({"audit_rows": 0}, "`audit_rows` must be an integer of at least 1"),
        ({"init_var_at": np.array([7])}, "`init_var_at` must be test points 0 ... 6"),
        ({"init_var_at": np.array([-1])}, "`init_var_at` must be test points 0 ... 6"),
        (
            {"solver": ConjugateGradient(file="kernel", recompute=True)},
            "`file` and `recompute` exclude",
        ),
        (
            {"solver": ConjugateGradient(file="kernel", mesh=ONE)},
            "`file` and `mesh` exclude",
        ),
        ({"factor": True, "recompute": True}, "`factor` and `recompute` exclude"),
        (
            {"solver": Cholesky(), "factor": True, "tolerance": 1e-3},
            "`solver` and `factor` and `tolerance` exclude each other: pass `solver`",
        ),
        ({"copies": 0}, "`copies` must be an integer of at least 1"),
    ],
)
def test_bad_arguments(options, text):
    with raises(text):
        exact_iterative(ARCH, NOISE, PROBLEM, **({"draws": 1, "key": KEY} | options))


@pytest.mark.parametrize(
    ("old", "solver", "spelt"),
    [
        ({"factor": True, "tolerance": 1e-9}, Cholesky(), "theory.Cholesky()"),
        (
            {"tolerance": 1e-3, "max_iterations": 50},
            ConjugateGradient(tolerance=1e-3, max_iterations=50),
            "theory.ConjugateGradient(tolerance=0.001, max_iterations=50)",
        ),
    ],
)
def test_arguments_of_the_version_before(old, solver, spelt):
    settings: dict = {"draws": 1, "key": KEY}
    expected = exact_iterative(ARCH, NOISE, SINGLE, solver=solver, **settings)
    with pytest.warns(DeprecationWarning, match=f"solver={re.escape(spelt)}"):
        found = exact_iterative(ARCH, NOISE, SINGLE, **old, **settings)
    # the same programs
    np.testing.assert_array_equal(found.outputs, expected.outputs)
    with pytest.raises(TypeError, match="unexpected argument 'tolerence'"):
        exact_iterative(ARCH, NOISE, SINGLE, tolerence=1e-3, **settings)
