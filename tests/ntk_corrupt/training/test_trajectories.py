"""A network on its way, against gradient descent by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from problems import prototypes

import theory
from ntk_corrupt.networks import mlp
from ntk_corrupt.training import epochs, trajectories
from ntk_corrupt.training.config import TrainConfig
from theory.errors import NumericalError
from theory.keys import stream

DATA = prototypes(counts=(6, 7, 5), d=8, dtype=np.float32)
X, LABELS = DATA.x_train, DATA.labels_train
N, C = len(LABELS), 3
LINEAR = mlp.mlp(theory.Architecture(depth=1, activation="erf"), None, C)
MLP = mlp.mlp(theory.Architecture(depth=2, activation="erf"), 12, C)
KEY = jax.random.key(5)
GD = TrainConfig(optimiser="gd", learning_rate=0.2, epochs=6)
SGD = TrainConfig(optimiser="sgd", learning_rate=0.1, batch_size=4, epochs=3)
# Of some steps in single precision, of weights and losses of size one.
ROUNDING = 64 * float(np.finfo(np.float32).eps)


def walk(model, config, key=KEY, labels=LABELS):
    return list(trajectories.walk(model, config, X, labels, key=key))


def test_gradient_descent_by_hand():
    snapshots = walk(LINEAR, GD)
    assert [each.epoch for each in snapshots] == list(range(7))
    layer = snapshots[0].params["params"]["layer_1"]
    w, b = (np.asarray(layer[name], np.float64) for name in ("kernel", "bias"))
    # fan-in 8, weight variance 1: as it was initialised, before any step
    assert w.std() == pytest.approx(8**-0.5, rel=5 / (2 * w.size) ** 0.5)
    assert not b.any()
    x, y = np.asarray(X, np.float64), np.eye(C)[np.asarray(LABELS)]
    assert snapshots[0].loss is None
    for each in snapshots[1:]:
        r = x @ w.T + b - y
        # the loss before the step
        np.testing.assert_allclose(each.loss, (r**2).mean(), rtol=ROUNDING)
        w -= 0.2 * 2 / r.size * r.T @ x
        b -= 0.2 * 2 / r.size * r.sum(axis=0, keepdims=True)
        layer = each.params["params"]["layer_1"]
        np.testing.assert_allclose(layer["kernel"], w, atol=ROUNDING)
        np.testing.assert_allclose(layer["bias"], b, atol=ROUNDING)


def test_batches_are_those_of_training():
    snapshots = walk(MLP, SGD)
    run_epoch: Any = jax.jit(epochs.run_epoch, static_argnames="apply")
    params = jax.jit(MLP.init)(stream(KEY, "init"), X[:1])
    member = epochs.start(SGD, params, stream(KEY, "shuffle"))
    for epoch, each in enumerate(snapshots[1:]):
        member, loss = run_epoch(MLP.apply, SGD, member, X[None], LABELS, epoch=epoch)
        np.testing.assert_allclose(each.loss, loss, rtol=ROUNDING)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=ROUNDING),
            each.params,
            member.params,
        )


def test_earlier_snapshots_stay():
    seen, copies = [], []
    for each in trajectories.walk(MLP, SGD, X, LABELS, key=KEY):
        seen.append(each.params)
        copies.append(jax.tree.map(np.array, each.params))
    for params, copy in zip(seen, copies, strict=True):
        jax.tree.map(np.testing.assert_array_equal, params, copy)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    first, last = (jax.tree.leaves(copies[k])[0] for k in (0, -1))
    assert np.abs(first - last).max() > 1e-3


def test_the_key_decides_start_and_order():
    start = lambda each: np.asarray(jax.tree.leaves(each[0].params)[-1])
    one, same, other = (walk(MLP, SGD, jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(start(one), start(same))
    assert float(one[-1].loss) == float(same[-1].loss)
    assert np.abs(start(one) - start(other)).max() > 1e-3
    # labels do not: what is compared over them starts alike
    relabelled = walk(MLP, SGD, jax.random.key(0), labels=(LABELS + 1) % C)
    np.testing.assert_array_equal(start(one), start(relabelled))
    assert float(one[-1].loss) != float(relabelled[-1].loss)


def test_one_program_for_all_epochs_labels_and_rates():
    programs: Any = trajectories._epoch
    walk(MLP, SGD)
    before = programs._cache_size()
    walk(MLP, SGD, jax.random.key(1), labels=(LABELS + 1) % C)
    walk(MLP, TrainConfig(optimiser="sgd", learning_rate=0.05, batch_size=4, epochs=3))
    assert programs._cache_size() == before > 0


def test_stops_at_a_loss():
    long = TrainConfig(optimiser="gd", learning_rate=0.2, epochs=40, stop_loss=0.1)
    snapshots = walk(LINEAR, long)
    train_loss: Any = jax.jit(epochs.train_loss, static_argnames="apply")
    before, last = (
        float(train_loss(LINEAR.apply, long, each.params, X[None], LABELS))
        for each in snapshots[-2:]
    )
    assert 1 < snapshots[-1].epoch < 40
    assert last <= 0.1 * (1 + ROUNDING)
    assert before > 0.1 * (1 - ROUNDING)


def test_distance_from_the_start():
    snapshots = walk(MLP, SGD)
    flat = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(each.params)])
        for each in snapshots
    ]
    for each, vector in zip(snapshots, flat, strict=True):
        found = trajectories.relative_distance(each.params, snapshots[0].params)
        expected = np.linalg.norm(vector - flat[0]) / np.linalg.norm(flat[0])
        assert float(found) == pytest.approx(expected, rel=ROUNDING)


def test_no_epochs():
    (only,) = walk(MLP, TrainConfig(epochs=0))
    assert only.epoch == 0


def test_bad_input():
    with raises("`labels` must have shape (18,) to match `x`, got (17,)"):
        walk(MLP, SGD, labels=LABELS[:-1])
    with raises("`batch_size` must be an integer of at least 1"):
        walk(MLP, TrainConfig(batch_size=0))
    wild = TrainConfig(optimiser="gd", learning_rate=1e30, epochs=9)
    with raises("training diverged", NumericalError):
        walk(LINEAR, wild)
