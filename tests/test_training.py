import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory
from ntk_corrupt import models, training
from ntk_corrupt.training import TrainConfig

N, D, C = 10, 4, 3
X = jax.random.normal(jax.random.key(0), (2, N, D), jnp.float32)  # two copies
LABELS = jnp.arange(N, dtype=jnp.int32) % C
Y = np.eye(C)[np.asarray(LABELS)]
LINEAR = models.mlp(theory.Architecture(depth=1, activation="erf"), None, C)
MLP = models.mlp(theory.Architecture(depth=3, activation="erf"), 16, C)
apply: Any = MLP.apply
SGD = TrainConfig(optimiser="sgd", learning_rate=0.1, batch_size=4)


def begin(model, config, seed=1):
    params = model.init(jax.random.key(seed), X[0])
    return training.start(config, params, jax.random.key(7))


@functools.partial(jax.jit, static_argnames="model")
def epoch_of(model, config, member, x, labels, epoch, copy):
    return training.run_epoch(
        model.apply, config, member, x, labels, epoch=epoch, copy=copy
    )


def train(model, config, epochs, *, copy=0, x=X, labels=LABELS):
    member = begin(model, config)
    for epoch in range(epochs):
        member, _ = epoch_of(model, config, member, x, labels, epoch, copy)
    return member


def assert_params_close(a, b, rtol=2e-5):
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=1e-6)


def numpy_loss(name, f, labels):
    softmax = np.exp(f) / np.exp(f).sum(1, keepdims=True)
    y = np.eye(f.shape[1])[labels]
    return {
        "mse": ((f - y) ** 2).mean(1),
        "cross_entropy": -np.log(softmax[np.arange(len(f)), labels]),
        "softmax_mse": ((softmax - y) ** 2).mean(1),
    }[name].mean()


@pytest.mark.parametrize("name", training.LOSSES)
@pytest.mark.parametrize("batch_size", [3, 5, 10])
def test_loss_over_the_training_set(name, batch_size):
    config = TrainConfig(loss=name, batch_size=batch_size)
    params = MLP.init(jax.random.key(1), X[0])
    f = np.asarray(apply(params, X[1]), np.float64)
    ours = training.train_loss(MLP.apply, config, params, X, LABELS, copy=1)
    np.testing.assert_allclose(ours, numpy_loss(name, f, LABELS), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [4, 5, 10, 99])
def test_epoch_visits_every_example_once(batch_size):
    # By hand: the documented order, in batches of which the last may be smaller.
    config = dataclasses.replace(SGD, batch_size=batch_size)
    member, mean = epoch_of(MLP, config, begin(MLP, config), X, LABELS, 5, 1)
    params = MLP.init(jax.random.key(1), X[0])
    order = jnp.arange(N, dtype=jnp.int32)
    if batch_size < N:
        order = jax.random.permutation(jax.random.fold_in(jax.random.key(7), 5), order)

    def loss(params, rows):
        y = jax.nn.one_hot(LABELS[rows], C, dtype=jnp.float32)
        return ((apply(params, X[1][rows]) - y) ** 2).mean()

    total = 0.0
    for first in range(0, N, batch_size):
        rows = order[first : first + batch_size]
        value, grads = jax.value_and_grad(loss)(params, rows)
        total += float(value) * len(rows)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    assert_params_close(member.params, params)
    np.testing.assert_allclose(mean, total / N, rtol=1e-5)


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


@pytest.mark.parametrize("optimiser", training.OPTIMISERS)
def test_two_steps_by_hand(optimiser):
    config = TrainConfig(optimiser=optimiser, learning_rate=0.05, batch_size=N)
    layer = begin(LINEAR, config).params["params"]["layer_1"]
    values = [np.asarray(layer["kernel"], np.float64), np.asarray(layer["bias"])]
    first, second = [0.0, 0.0], [0.0, 0.0]
    for step in (1, 2):
        grads = linear_gradient(*values)
        for i, g in enumerate(grads):
            if optimiser == "adam":
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.999 * second[i] + 0.001 * g**2
                mean, square = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
                g = mean / (np.sqrt(square) + 1e-8)
            elif optimiser == "momentum":
                first[i] = 0.9 * first[i] + g
                g = first[i]
            values[i] = values[i] - 0.05 * g
    trained = train(LINEAR, config, 2).params["params"]["layer_1"]
    assert_params_close(trained, {"kernel": values[0], "bias": values[1]}, rtol=1e-4)


@pytest.mark.parametrize(("n", "d"), [(8, 20), (30, 3)])
def test_gradient_descent_ends_at_least_squares(n, d):
    # More inputs than examples: the interpolating solution nearest to the start.
    x = jax.random.normal(jax.random.key(3), (1, n, d), jnp.float32)
    labels = jnp.arange(n, dtype=jnp.int32) % C
    augmented = np.concatenate([np.asarray(x[0], np.float64), np.ones((n, 1))], axis=1)
    curvature = 2 / (n * C) * np.linalg.norm(augmented, 2) ** 2
    config = TrainConfig(optimiser="gd", learning_rate=float(1 / curvature))
    model, member = (
        LINEAR,
        training.start(
            TrainConfig(), LINEAR.init(jax.random.key(1), x[0]), jax.random.key(0)
        ),
    )
    layer = member.params["params"]["layer_1"]
    start = np.concatenate([layer["kernel"].T, layer["bias"]]).astype(np.float64)
    residual = np.eye(C)[np.asarray(labels)] - augmented @ start
    expected = start + np.linalg.pinv(augmented) @ residual

    @jax.jit
    def descend(member):
        step = lambda _, m: training.run_epoch(
            model.apply, config, m, x, labels, epoch=0
        )[0]
        return jax.lax.fori_loop(0, 3000, step, member)

    member = training.start(config, member.params, jax.random.key(0))
    layer = descend(member).params["params"]["layer_1"]
    trained = np.concatenate([layer["kernel"].T, layer["bias"]])
    np.testing.assert_allclose(trained, expected, atol=1e-4)


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
    loss = training.train_loss(MLP.apply, config, before.params, X, LABELS)
    assert before.train_loss <= 0.1
    np.testing.assert_allclose(loss, before.train_loss, rtol=1e-5)
    for epoch in range(60, 63):
        member, _ = epoch_of(MLP, config, member, X, LABELS, epoch, 0)
    frozen = dataclasses.replace(member, shuffle_key=0)
    kept = dataclasses.replace(before, shuffle_key=0)
    for a, b in zip(jax.tree.leaves(frozen), jax.tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(a, b)
    # Until it stops, a member trains as without the rule.
    free = dataclasses.replace(config, stop_loss=None)
    assert_params_close(train(MLP, free, int(before.epochs)).params, before.params)


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
    [*((name, None) for name in training.OPTIMISERS), ("adam", "bfloat16")],
)
def test_training_is_float32_under_x64(optimiser, precision):
    assert jnp.zeros(()).dtype == jnp.float64
    config = TrainConfig(
        optimiser=optimiser, batch_size=4, stop_loss=0.1, precision=precision
    )
    member = begin(MLP, config)
    jaxpr = jax.make_jaxpr(
        lambda config, member: training.run_epoch(
            MLP.apply, config, member, X, LABELS, epoch=0
        )
    )(config, member)
    dtypes = [(aval.dtype, aval.ndim) for aval in arrays_of(jaxpr.jaxpr)]
    assert len(dtypes) > 100  # the loop body is among them
    assert not [ndim for dtype, ndim in dtypes if dtype == jnp.float64 and ndim > 0]
    leaves = jax.tree.leaves(train(MLP, config, 1))
    assert {str(leaf.dtype) for leaf in leaves} <= {
        *("float32", "int32", "bool", "key<fry>")
    }


def test_learning_rate_and_stop_loss_do_not_recompile():
    traces = []

    def fn(u):
        traces.append(1)
        return jnp.tanh(u)

    arch = theory.Architecture(depth=2, activation=theory.custom(fn, name="counted"))
    model = models.mlp(arch, 8, C)
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


@pytest.mark.parametrize("block", [1, 3, 10, 99])
def test_predict_in_blocks(block):
    params = MLP.init(jax.random.key(1), X[0])
    config = dataclasses.replace(SGD, batch_size=block)
    for x, copy in ((X[1], None), (X, 1)):
        ours = training.predict(MLP.apply, config, params, x, copy=copy)
        np.testing.assert_allclose(ours, apply(params, X[1]), rtol=1e-5, atol=1e-6)


def test_settings_are_hashable():
    assert hash(TrainConfig()) == hash(TrainConfig())
    assert TrainConfig() != TrainConfig(epochs=3)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"loss": "mes"}, "unknown loss 'mes': did you mean 'mse'"),
        ({"optimiser": "adamw"}, "unknown optimiser 'adamw': did you mean 'adam'"),
        ({"noise_regime": "frosen"}, "unknown noise regime 'frosen'.*'frozen'"),
        ({"precision": "float16"}, "unknown precision 'float16': did you mean 'bfloat"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1, got 0"),
        ({"epochs": -1}, "`epochs` must be an integer of at least 0, got -1"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive, got 0.0"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be positive, got nan"),
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\), got 1.0"),
        ({"stop_loss": 0.0}, "`stop_loss` must be positive, got 0.0"),
        ({"stop_loss": 0.1, "epochs": 0}, "`epochs` must be at least 1"),
    ],
)
def test_bad_settings(settings, text):
    with pytest.raises(theory.InputError, match=text):
        TrainConfig(**settings).check()
