"""neural-tangents as `load()` gives it, against computations that share no code.

Kernels: the closed-form recursion of an erf or ReLU network, in NumPy. Dynamics:
matrix exponentials. Empirical kernels: the explicit Jacobian. All in float64.
"""

import functools
import importlib.machinery
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from checkout import ROOT
from jax.flatten_util import ravel_pytree

from ntk_corrupt import neural_tangents
from theory.errors import InputError

# What JAX has announced to remove must not be in use.
pytestmark = pytest.mark.filterwarnings("error::DeprecationWarning")

W_STD, B_STD, DEPTH = 1.3, 0.4, 3
N_TRAIN, N_TEST, DIM, CLASSES = 6, 3, 5, 2


@pytest.fixture(scope="module")
def nt():
    return neural_tangents.load()


@pytest.fixture(scope="module")
def ensemble(nt):
    """What an ensemble of networks predicts."""
    return nt.predict.gradient_descent_mse_ensemble(network(nt)[2], X_TRAIN, Y_TRAIN)


def assert_close(actual, expected, rtol=1e-10):
    # float64, kernels of order one, condition numbers below 1e3: 1e-13 expected.
    assert np.asarray(actual).dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-12)


def inputs(n, seed):
    return np.random.default_rng(seed).standard_normal((n, DIM))


X_TRAIN, X_TEST = inputs(N_TRAIN, 1), inputs(N_TEST, 2)
Y_TRAIN = np.random.default_rng(3).standard_normal((N_TRAIN, CLASSES))


def erf_duals(cov, q1, q2):
    """E[phi phi] and E[phi' phi'] of erf (Williams 1997)."""
    scale = (1 + 2 * q1) * (1 + 2 * q2)
    nngp = 2 / np.pi * np.arcsin(2 * cov / np.sqrt(scale))
    return nngp, 4 / np.pi / np.sqrt(scale - 4 * cov**2)


def relu_duals(cov, q1, q2):
    """The same of ReLU (Cho & Saul 2009)."""
    norms = np.sqrt(q1 * q2)
    angle = np.arccos(np.minimum(cov / norms, 1.0))
    nngp = norms * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    return nngp, (np.pi - angle) / (2 * np.pi)


def reference_kernels(x1, x2, duals=erf_duals, depth=DEPTH):
    """NNGP and NTK of `depth` weight layers (Jacot et al. 2018)."""
    affine = lambda k: W_STD**2 * k + B_STD**2
    cov = affine(x1 @ x2.T / DIM)
    q1 = affine(np.sum(x1**2, axis=1)[:, None] / DIM)
    q2 = affine(np.sum(x2**2, axis=1)[None, :] / DIM)
    ntk = cov
    for _ in range(depth - 1):
        nngp, slope = duals(cov, q1, q2)
        cov = affine(nngp)
        q1, q2 = affine(duals(q1, q1, q1)[0]), affine(duals(q2, q2, q2)[0])
        ntk = cov + W_STD**2 * slope * ntk
    return cov, ntk


def network(nt, activation="erf", width=16, depth=DEPTH, outputs=1):
    dense = lambda n: nt.stax.Dense(n, W_std=W_STD, b_std=B_STD)
    phi = {"erf": nt.stax.Erf, "relu": nt.stax.Relu}[activation]
    hidden = [layer for _ in range(depth - 1) for layer in (dense(width), phi())]
    return nt.stax.serial(*hidden, dense(outputs))


# --- infinite width ------------------------------------------------------------


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_stax_kernel_is_the_closed_form(nt, activation, transform):
    kernel_fn = network(nt, activation)[2]
    kernels = transform(lambda a, b: kernel_fn(a, b, ("nngp", "ntk")))(X_TRAIN, X_TEST)
    duals = {"erf": erf_duals, "relu": relu_duals}[activation]
    nngp, ntk = reference_kernels(X_TRAIN, X_TEST, duals)
    assert_close(kernels[0], nngp)
    assert_close(kernels[1], ntk)


@pytest.mark.parametrize("device_count", [0, -1])
def test_batch_is_the_closed_form(nt, device_count):
    kernel_fn = nt.batch(network(nt)[2], batch_size=1, device_count=device_count)
    kernel = kernel_fn(X_TRAIN, X_TEST, "ntk")
    assert_close(kernel, reference_kernels(X_TRAIN, X_TEST)[1])


def test_monte_carlo_kernel_has_the_infinite_mean(nt):
    # One hidden layer: the mean over initialisations is exact at any width.
    init_fn, apply_fn, _ = network(nt, depth=2, outputs=8)
    samples = 200
    kernel_fn = nt.monte_carlo_kernel_fn(
        init_fn, apply_fn, jax.random.key(0), range(1, samples + 1)
    )
    running = list(kernel_fn(X_TRAIN, X_TEST, ("nngp", "ntk")))
    for name, expected in zip(
        ("nngp", "ntk"), reference_kernels(X_TRAIN, X_TEST, depth=2), strict=True
    ):
        means = np.stack([getattr(kernels, name) for kernels in running])
        sums = means * np.arange(1, samples + 1)[:, None, None]
        draws = np.diff(sums, axis=0, prepend=0.0)
        stderr = draws.std(axis=0, ddof=1) / np.sqrt(samples)
        assert np.all(np.abs(means[-1] - expected) <= 5 * stderr), name


# --- training dynamics ---------------------------------------------------------


def decay(ntk, t):
    """exp(-ntk t / (n c)): neural-tangents averages its loss over n c outputs."""
    return scipy.linalg.expm(-ntk * t / (N_TRAIN * CLASSES))


def test_ensemble_at_finite_time(ensemble):
    t = 3.0
    _, ntk = reference_kernels(X_TRAIN, X_TRAIN)
    _, ntk_test = reference_kernels(X_TEST, X_TRAIN)
    learned = Y_TRAIN - decay(ntk, t) @ Y_TRAIN
    assert_close(ensemble(t=t, get="ntk"), learned)
    mean = ensemble(t=t, x_test=X_TEST, get="ntk")
    assert_close(mean, ntk_test @ np.linalg.solve(ntk, learned))


@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_ensemble_at_infinite_time(ensemble, get):
    index = ("nngp", "ntk").index(get)
    kernel = reference_kernels(X_TRAIN, X_TRAIN)[index]
    kernel_test = reference_kernels(X_TEST, X_TRAIN)[index]
    mean = ensemble(x_test=X_TEST, get=get)
    assert_close(mean, kernel_test @ np.linalg.solve(kernel, Y_TRAIN))


@pytest.mark.parametrize("t", [3.0, None], ids=["finite", "infinite"])
def test_ensemble_covariance(ensemble, t):
    nngp, ntk = reference_kernels(X_TRAIN, X_TRAIN)
    nngp_test, ntk_test = reference_kernels(X_TEST, X_TRAIN)
    nngp_test_test, _ = reference_kernels(X_TEST, X_TEST)
    cov = ensemble(t=t, x_test=X_TEST, get="ntk", compute_cov=True).covariance
    # f_t(test) = f_0(test) - gain f_0(train) + constant, f_0 Gaussian with `nngp`.
    rest = 0.0 if t is None else decay(ntk, t)
    gain = ntk_test @ np.linalg.solve(ntk, np.eye(N_TRAIN) - rest)
    cross = gain @ nngp_test.T
    assert_close(cov, nngp_test_test + gain @ nngp @ gain.T - cross - cross.T)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("t", [3.0, None], ids=["finite", "infinite"])
def test_gradient_descent_mse(nt, t, transform):
    ntk = reference_kernels(X_TRAIN, X_TRAIN)[1]
    ntk_test = reference_kernels(X_TEST, X_TRAIN)[1]
    rng = np.random.default_rng(4)
    f_train = rng.standard_normal((N_TRAIN, CLASSES))
    f_test = rng.standard_normal((N_TEST, CLASSES))

    @transform
    def predict(kernel, kernel_test):  # traced under jit, which `eval_context` rejects
        predict_fn = nt.predict.gradient_descent_mse(kernel, jnp.asarray(Y_TRAIN))
        return predict_fn(t, f_train, f_test, kernel_test)

    rest = np.zeros_like(ntk) if t is None else decay(ntk, t)
    moved = (np.eye(N_TRAIN) - rest) @ (Y_TRAIN - f_train)
    train, test = predict(jnp.asarray(ntk), jnp.asarray(ntk_test))
    assert_close(train, f_train + moved)
    assert_close(test, f_test + ntk_test @ np.linalg.solve(ntk, moved))


def test_gp_inference(nt):
    ridge = 0.1
    kernel = reference_kernels(X_TRAIN, X_TRAIN)[0] + ridge * np.eye(N_TRAIN)
    kernel_test = reference_kernels(X_TEST, X_TRAIN)[0]
    kernel_fn = network(nt)[2]
    predict_fn = nt.predict.gp_inference(
        kernel_fn(X_TRAIN, None, "nngp"),
        Y_TRAIN,
        diag_reg=ridge,
        diag_reg_absolute_scale=True,
    )
    posterior = predict_fn(
        get="nngp",
        k_test_train=kernel_fn(X_TEST, X_TRAIN, "nngp"),
        k_test_test=kernel_fn(X_TEST, None, "nngp"),
    )
    assert_close(posterior.mean, kernel_test @ np.linalg.solve(kernel, Y_TRAIN))
    explained = kernel_test @ np.linalg.solve(kernel, kernel_test.T)
    prior = reference_kernels(X_TEST, X_TEST)[0]
    assert_close(posterior.covariance, prior - explained)


def test_max_learning_rate_is_where_gradient_descent_stops_contracting(nt):
    ntk = reference_kernels(X_TRAIN, X_TRAIN)[1]
    rate = nt.predict.max_learning_rate(jnp.asarray(ntk), Y_TRAIN.size)
    step = np.eye(N_TRAIN) - rate / Y_TRAIN.size * ntk
    # Its eps = 1e-12 in the denominator is below the tolerance.
    assert_close(np.linalg.norm(step, 2), 1.0)


# --- finite width --------------------------------------------------------------


def dense_function(params, x):
    """Primitives whose transpose rules JAX no longer keeps or keeps in other forms."""
    hidden = jnp.tanh(x @ params["w1"] + params["b1"][None, :])[:, 1:]
    outputs = (hidden @ params["w2"])[:, jnp.array([2, 0])]
    mixing = jnp.array([[2.0, 1.0], [0.5, 3.0]])
    return jnp.linalg.solve(mixing, outputs.T).T


def dense_params(seed):
    rng = np.random.default_rng(seed)
    shapes = {"w1": (DIM, 7), "b1": (7,), "w2": (6, 3)}
    return {k: jnp.asarray(rng.standard_normal(s)) for k, s in shapes.items()}


def conv_function(params, x):
    images = jax.nn.relu(x)[:, None, :]
    hidden = jax.lax.conv_general_dilated(images, params["w1"], (1,), "SAME")
    hidden = jax.nn.gelu(hidden + params["b1"][None, :, None]).reshape(len(x), -1)
    return jax.nn.log_softmax(hidden @ params["w2"])


def conv_params(seed):
    rng = np.random.default_rng(seed)
    shapes = {"w1": (4, 1, 3), "b1": (4,), "w2": (4 * DIM, CLASSES)}
    return {k: jnp.asarray(rng.standard_normal(s)) for k, s in shapes.items()}


NETWORKS = {
    "dense": (dense_function, dense_params(5)),
    "conv": (conv_function, conv_params(5)),
}


@functools.cache
def jacobian(name, train):
    """The explicit Jacobian at training or test points, (n, outputs, parameters)."""
    f, params = NETWORKS[name]
    flat, unravel = ravel_pytree(params)
    x = X_TRAIN if train else X_TEST
    return np.asarray(jax.jit(jax.jacrev(lambda p: f(unravel(p), x)))(flat))


@pytest.mark.parametrize(
    ("name", "implementation"),
    [
        # compiles the others, on which it decides; below for a linear network
        pytest.param("dense", 0, marks=pytest.mark.slow),
        *((name, i) for name in NETWORKS for i in (1, 2, 3)),
    ],
)
def test_empirical_ntk_is_the_product_of_jacobians(nt, name, implementation):
    f, params = NETWORKS[name]
    kernel_fn = nt.empirical_ntk_fn(f, trace_axes=(), implementation=implementation)
    if implementation != 0:  # 0 compiles the others itself, and cannot be traced
        kernel_fn = jax.jit(kernel_fn)
    j1, j2 = jacobian(name, True), jacobian(name, False)
    expected = np.einsum("nip,mjp->nmij", j1, j2)
    assert_close(kernel_fn(X_TRAIN, X_TEST, params), expected)


def test_implementation_0_compares_the_costs_of_the_others(nt, capsys):
    linear = lambda params, x: x @ params
    kernel_fn = nt.empirical_ntk_fn(linear, implementation=0)
    assert_close(kernel_fn(X_TRAIN, X_TEST, jnp.ones((DIM, 1))), X_TRAIN @ X_TEST.T)
    costs = [line.split("flops=")[1] for line in capsys.readouterr().out.splitlines()]
    assert len(costs) == 3
    assert all(float(cost) > 0 for cost in costs)


def test_empirical_nngp_is_the_product_of_outputs(nt):
    f, params = NETWORKS["dense"]
    nngp = nt.empirical_nngp_fn(f)(X_TRAIN, X_TEST, params)
    f1, f2 = (np.asarray(jax.jit(f)(params, x)) for x in (X_TRAIN, X_TEST))
    assert_close(nngp, f1 @ f2.T / CLASSES)


@pytest.mark.parametrize("degree", [1, 2])
def test_taylor_expansion_is_that_of_explicit_derivatives(nt, degree):
    f, params = NETWORKS["dense"]
    away = dense_params(6)
    centre, unravel = ravel_pytree(params)
    delta = ravel_pytree(away)[0] - centre
    expected = jax.jit(f)(params, X_TEST) + jacobian("dense", False) @ delta
    if degree == 1:
        assert_close(nt.linearize(f, params)(away, X_TEST), expected)
    else:
        hessian = jax.jit(jax.hessian(lambda p: f(unravel(p), X_TEST)))(centre)
        expected += 0.5 * (hessian @ delta) @ delta
    assert_close(nt.taylor_expand(f, params, degree)(away, X_TEST), expected)


# --- loading -------------------------------------------------------------------

LOADING = """
import sys, threading, types
import jax, jax.extend.core, jax.interpreters.ad, jax.numpy as jnp, scipy.linalg

class Guard:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        assert top not in ("tensorflow", "tf2jax"), name

def public():
    return {
        (name, attribute): id(value)
        for name, module in sorted(sys.modules.items())
        if name.partition(".")[0] in ("jax", "scipy") and "._" not in name
        for attribute, value in vars(module).items()
    }

from ntk_corrupt import neural_tangents

sys.meta_path.insert(0, Guard())
# A plain import, here with its TensorFlow part out of the way, fails half-way and
# leaves submodules behind.
sys.modules["neural_tangents.experimental"] = types.ModuleType("experimental")
try:
    import neural_tangents as plain
except ImportError:
    assert "neural_tangents._src.predict" in sys.modules
else:
    raise SystemExit("a plain import works: are the stand-ins still needed?")

finders, before = list(sys.meta_path), public()
sys.setswitchinterval(1e-6)
start, loaded = threading.Barrier(8), []
def load():
    start.wait()
    module = neural_tangents.load()
    module.Kernel, module.predict.max_learning_rate  # fail on one that is half loaded
    loaded.append(module)
threads = [threading.Thread(target=load) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
import neural_tangents as imported

after = public()
assert {key: after.get(key) for key in before} == before, "JAX or SciPy was changed"
for name, module in list(sys.modules.items()):
    if name.partition(".")[0] in ("jax", "jaxlib", "scipy"):
        for value in list(vars(module).values()):
            assert type(value) is not neural_tangents._StandIn, name
assert len(loaded) == 8 and all(module is imported for module in loaded)
assert sys.meta_path == finders
assert "jax.util" not in sys.modules or sys.modules["jax.util"].__spec__ is not None
assert not {"tensorflow", "tf2jax"} & set(sys.modules)
assert abs(imported.predict.max_learning_rate(jnp.eye(2), 1) - 2) < 1e-5
"""


def test_load_is_thread_safe_and_leaves_everything_as_it_was():
    result = subprocess.run(
        [sys.executable, "-c", LOADING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_missing_package_is_one_clear_error(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "neural_tangents"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(
        importlib.machinery.PathFinder, "find_spec", lambda *args, **kwargs: None
    )
    with pytest.raises(InputError, match=r"`neural_tangents`.*pip install --no-deps"):
        neural_tangents.load()
