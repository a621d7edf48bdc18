import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory
from ntk_corrupt.networks import mlp
from ntk_corrupt.training import epochs
from ntk_corrupt.training.config import LOSSES, OPTIMISERS, TrainConfig

N, D, C = 10, 4, 3
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(2, N, D)).astype(np.float32))  # two copies
LABELS = jnp.asarray(np.arange(N, dtype=np.int32) % C)
Y = np.eye(C)[np.asarray(LABELS)]
LINEAR = mlp.mlp(theory.Architecture(depth=1, activation="erf"), None, C)
MLP: Any = mlp.mlp(theory.Architecture(depth=3, activation="erf"), 16, C)
apply: Any = MLP.apply
SGD = TrainConfig(optimiser="sgd", learning_rate=0.1, batch_size=4)
BATCHES = (1, 3, 4, 5, 10, 99)
# Sums of 16 numbers of size one, in float32, through three layers and back.
ROUNDING = 256 * float(np.finfo(np.float32).eps)
# Adam divides a gradient by its size: one that is some ten times smaller than the terms
# that it is a sum of moves a weight by so much more of the learning rate, every step.
ADAM_ROUNDING = 16 * ROUNDING
start = jax.jit(epochs.start)


@functools.cache
def initial(model: Any):
    return jax.jit(model.init)(jax.random.key(1), X[0])


def begin(model, config):
    return start(config, initial(model), jax.random.key(7))


@functools.partial(jax.jit, static_argnames="model")
def epoch_of(model, config, member, x, labels, epoch, copy):
    return epochs.run_epoch(
        model.apply, config, member, x, labels, epoch=epoch, copy=copy
    )


def train(model, config, epochs, *, copy=0, x=X, labels=LABELS):
    member = begin(model, config)
    for epoch in range(epochs):
        member, _ = epoch_of(model, config, member, x, labels, epoch, copy)
    return member


def assert_params_close(a, b, rounding=ROUNDING):
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(left, right, rtol=rounding, atol=rounding)


def numpy_loss(name, f, labels):
    softmax = np.exp(f) / np.exp(f).sum(1, keepdims=True)
    y = np.eye(f.shape[1])[labels]
    return {
        "mse": ((f - y) ** 2).mean(1),
        "cross_entropy": -np.log(softmax[np.arange(len(f)), labels]),
        "softmax_mse": ((softmax - y) ** 2).mean(1),
    }[name].mean()


@jax.jit
def outputs_and_losses(params, copy):
    """Outputs, at once and in blocks of one set of points or of several, and losses."""
    blocks, losses = {}, {}
    for size in BATCHES:
        config = dataclasses.replace(SGD, batch_size=size)
        blocks[size] = [
            epochs.predict(MLP.apply, config, params, x, copy=copy)
            for x, copy in ((X[copy], None), (X, copy))
        ]
        for name in LOSSES:
            config = dataclasses.replace(config, loss=name)
            loss = epochs.train_loss(MLP.apply, config, params, X, LABELS, copy=copy)
            losses[name, size] = loss
    return apply(params, X[copy]), blocks, losses


@pytest.fixture(scope="module")
def evaluated():
    return jax.device_get(outputs_and_losses(initial(MLP), 1))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("batch_size", BATCHES)
def test_loss_over_the_training_set(name, batch_size, evaluated):
    f, _, losses = evaluated
    expected = numpy_loss(name, np.asarray(f, np.float64), LABELS)
    np.testing.assert_allclose(losses[name, batch_size], expected, rtol=ROUNDING)


@functools.cache
def shuffled():
    key = jax.random.fold_in(jax.random.key(7), 5)
    return np.asarray(
        jax.random.permutation(key, jnp.asarray(np.arange(N, dtype="i4")))
    )


@jax.jit
def step_by_hand(params, rows, count):
    """Loss and new parameters of one step on the first `count` of some rows."""

    def loss(params):
        y = jax.nn.one_hot(LABELS[rows], C, dtype=jnp.float32)
        losses = ((apply(params, X[1][rows]) - y) ** 2).mean(axis=1)
        return jnp.where(jnp.arange(N) < count, losses, 0).sum() / count

    value, grads = jax.value_and_grad(loss)(params)
    return value, jax.tree.map(lambda p, g: p - jnp.float32(0.1) * g, params, grads)


@pytest.mark.parametrize("batch_size", [4, 5, 10, 99])
def test_epoch_visits_every_example_once(batch_size):
    # By hand: the documented order, in batches of which the last may be smaller.
    config = dataclasses.replace(SGD, batch_size=batch_size)
    member, mean = epoch_of(MLP, config, begin(MLP, config), X, LABELS, 5, 1)
    params = initial(MLP)
    order = shuffled() if batch_size < N else np.arange(N, dtype=np.int32)
    total = 0.0
    for first in range(0, N, batch_size):
        rows = order[first : first + batch_size]
        value, params = step_by_hand(params, np.resize(rows, N), np.float32(len(rows)))
        total += float(value) * len(rows)
    assert_params_close(member.params, params)
    np.testing.assert_allclose(mean, total / N, rtol=ROUNDING)


def test_order_changes_between_epochs_only_for_batches():
    at = lambda config, epoch: (
        epoch_of(MLP, config, begin(MLP, config), X, LABELS, epoch, 0)[0].params
    )
    leaf = lambda params: params["params"]["layer_1"]["kernel"]
    assert (leaf(at(SGD, 0)) != leaf(at(SGD, 1))).any()
    full = dataclasses.replace(SGD, optimiser="gd")
    assert (leaf(at(full, 0)) == leaf(at(full, 1))).all()


def linear_gradient(w, b):
    residual = np.asarray(X[0], np.float64) @ w.T + b - Y
    return 2 / (N * C) * residual.T @ X[0], 2 / (N * C) * residual.sum(0, keepdims=True)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_two_steps_by_hand(optimiser):
    decay = 0.3 if optimiser == "adamw" else 0.0
    config = TrainConfig(
        optimiser=optimiser, learning_rate=0.05, batch_size=N, weight_decay=decay
    )
    layer = begin(LINEAR, config).params["params"]["layer_1"]
    values = [np.asarray(layer["kernel"], np.float64), np.asarray(layer["bias"])]
    first, second = [0.0, 0.0], [0.0, 0.0]
    for step in (1, 2):
        grads = linear_gradient(*values)
        for i, g in enumerate(grads):
            if optimiser in ("adam", "adamw"):
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.999 * second[i] + 0.001 * g**2
                mean, square = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
                g = mean / (np.sqrt(square) + 1e-8)
            elif optimiser == "adadelta":
                second[i] = 0.9 * second[i] + 0.1 * g**2
                g = g * np.sqrt(first[i] + 1e-6) / np.sqrt(second[i] + 1e-6)
                first[i] = 0.9 * first[i] + 0.1 * g**2
            elif optimiser == "momentum":
                first[i] = 0.9 * first[i] + g
                g = first[i]
            values[i] = values[i] - 0.05 * (g + decay * values[i])
    trained = train(LINEAR, config, 2).params["params"]["layer_1"]
    assert_params_close(trained, {"kernel": values[0], "bias": values[1]})


@pytest.mark.parametrize(("n", "d"), [(8, 20), (30, 3)])
def test_gradient_descent_ends_at_least_squares(n, d):
    # More inputs than examples: the interpolating solution nearest to the start.
    x = np.random.default_rng(3).normal(size=(1, n, d)).astype(np.float32)
    labels = np.arange(n, dtype=np.int32) % C
    augmented = np.concatenate([np.asarray(x[0], np.float64), np.ones((n, 1))], axis=1)
    stretch = np.linalg.svd(augmented, compute_uv=False)
    curvature = 2 / (n * C) * stretch[0] ** 2
    config = TrainConfig(optimiser="gd", learning_rate=float(1 / curvature))
    steps, condition = 3000, (stretch[0] / stretch[-1]) ** 2

    @jax.jit
    def descend(x, labels):
        params = LINEAR.init(jax.random.key(1), x[0])
        step = lambda _, m: epochs.run_epoch(
            LINEAR.apply, config, m, x, labels, epoch=0
        )[0]
        member = epochs.start(config, params, jax.random.key(0))
        return params, jax.lax.fori_loop(0, steps, step, member).params

    before, after = (
        np.concatenate([layer["kernel"].T, layer["bias"]]).astype(np.float64)
        for layer in (params["params"]["layer_1"] for params in descend(x, labels))
    )
    residual = np.eye(C)[labels] - augmented @ before
    expected = before + np.linalg.pinv(augmented) @ residual
    # What is left of the start, and roundings of a step, in the flattest direction:
    # one weight in `condition` of what it would take to undo them.
    left = np.exp(-steps / condition)
    atol = left + condition * 16 * np.finfo(np.float32).eps
    np.testing.assert_allclose(after, expected, atol=atol)


def test_stopped_members_keep_their_parameters():
    config = TrainConfig(learning_rate=1e-2, batch_size=4, stop_loss=0.1)
    member, before = begin(MLP, config), None
    for epoch in range(60):
        if not member.active:
            before = member
            break
        member, _ = epoch_of(MLP, config, member, X, LABELS, epoch, 0)
    assert before is not None
    assert 1 < before.epochs == epoch
    _, _, losses = jax.device_get(outputs_and_losses(before.params, 0))
    assert before.train_loss <= 0.1
    np.testing.assert_allclose(losses["mse", 4], before.train_loss, rtol=ROUNDING)
    for epoch in range(60, 63):
        member, _ = epoch_of(MLP, config, member, X, LABELS, epoch, 0)
    frozen = dataclasses.replace(member, shuffle_key=0)
    kept = dataclasses.replace(before, shuffle_key=0)
    for a, b in zip(jax.tree.leaves(frozen), jax.tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(a, b)
    # Until it stops, a member trains as without the rule.
    free = dataclasses.replace(config, stop_loss=None)
    unstopped = train(MLP, free, int(before.epochs)).params
    assert_params_close(unstopped, before.params, rounding=ADAM_ROUNDING)


def arrays_of(jaxpr):
    for equation in jaxpr.eqns:
        yield from (v.aval for v in equation.outvars)
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from arrays_of(inner)


@pytest.mark.parametrize(
    ("optimiser", "precision"),
    [*((name, None) for name in OPTIMISERS), ("adam", "bfloat16")],
)
def test_training_is_float32_under_x64(optimiser, precision):
    assert jnp.zeros(()).dtype == jnp.float64
    config = TrainConfig(
        optimiser=optimiser, batch_size=4, stop_loss=0.1, precision=precision
    )
    member = begin(MLP, config)
    jaxpr, result = jax.make_jaxpr(
        lambda config, member: epochs.run_epoch(
            MLP.apply, config, member, X, LABELS, epoch=0
        ),
        return_shape=True,
    )(config, member)
    dtypes = [(aval.dtype, aval.ndim) for aval in arrays_of(jaxpr.jaxpr)]
    assert len(dtypes) > 100  # the loop body is among them
    assert not [ndim for dtype, ndim in dtypes if dtype == jnp.float64 and ndim > 0]
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(result)} <= {
        *("float32", "int32", "bool", "key<fry>")
    }


def test_learning_rate_and_stop_loss_do_not_recompile():
    traces = []

    def fn(u):
        traces.append(1)
        return jnp.tanh(u)

    arch = theory.Architecture(depth=2, activation=theory.custom(fn, name="counted"))
    model = mlp.mlp(arch, 8, C)
    config = TrainConfig(batch_size=4, stop_loss=1e-3)
    train(model, config, 1)
    count = len(traces)
    for changes in ({"learning_rate": 1e-2}, {"stop_loss": 0.5}, {"epochs": 9}):
        member = begin(model, config)
        before = len(traces)
        changed = dataclasses.replace(config, **changes)
        epoch_of(model, changed, member, X, LABELS, 3, 1)
        assert len(traces) == before
    assert count > 0


@pytest.mark.parametrize("block", BATCHES)
def test_predict_in_blocks(block, evaluated):
    whole, blocks, _ = evaluated
    for ours in blocks[block]:
        np.testing.assert_allclose(ours, whole, rtol=ROUNDING, atol=ROUNDING)


def test_settings_are_hashable():
    assert hash(TrainConfig()) == hash(TrainConfig())
    assert TrainConfig() != TrainConfig(epochs=3)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"loss": "mes"}, "unknown loss 'mes': did you mean 'mse'"),
        ({"optimiser": "adams"}, "unknown optimiser 'adams': did you mean 'adam'"),
        ({"noise_regime": "frosen"}, "unknown noise regime 'frosen'.*'frozen'"),
        ({"precision": "float16"}, "unknown precision 'float16': did you mean 'bfloat"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1, got 0"),
        ({"epochs": -1}, "`epochs` must be an integer of at least 0, got -1"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive, got 0.0"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be positive, got nan"),
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\), got 1.0"),
        (
            {"optimiser": "adamw", "weight_decay": -1.0},
            "`weight_decay` must not be neg",
        ),
        (
            {"weight_decay": 0.5},
            "must be 0 unless the optimiser is adamw, got 0.5 with",
        ),
        ({"stop_loss": 0.0}, "`stop_loss` must be positive, got 0.0"),
        ({"stop_loss": 0.1, "epochs": 0}, "`epochs` must be at least 1"),
    ],
)
def test_bad_settings(settings, text):
    with pytest.raises(theory.InputError, match=text):
        TrainConfig(**settings).check()
