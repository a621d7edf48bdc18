"""What an ensemble returns, when it stops, what it reports, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from small_ensembles import (
    ARCH,
    CONFIG,
    KEY,
    ROUNDING,
    C,
    assert_same,
    measure,
    problem,
    spied,
)

import theory
from ntk_corrupt.probes import basic
from ntk_corrupt.training.config import TrainConfig
from theory import keys as theory_keys


def test_result(reference):
    assert reference.outputs.shape == (3, 2, 7, C)
    assert reference.outputs.dtype == jnp.float32
    assert reference.init_var is None
    for name, dtype in (("train_loss", "float32"), ("epochs", "int32")):
        assert reference.diagnostics[name].shape == (3, 2)
        assert reference.diagnostics[name].dtype == dtype
    assert (reference.diagnostics["epochs"] == 3).all()
    assert not reference.diagnostics["reached"].any()
    for k in range(3):
        expected = jax.random.key_data(theory_keys.draw_key(KEY, k))
        np.testing.assert_array_equal(reference.draw_keys[k], expected)


def test_first_draw_continues(reference):
    later = measure(draws=1, first_draw=2)
    assert_same(later.outputs, reference.outputs[2:])
    np.testing.assert_array_equal(later.draw_keys, reference.draw_keys[2:])


def test_members_differ_and_repeat(reference):
    flat = np.asarray(reference.outputs).reshape(6, -1)
    for i in range(6):
        for j in range(i):
            assert np.abs(flat[i] - flat[j]).max() > 0.01
    np.testing.assert_array_equal(measure().outputs, reference.outputs)
    assert (
        np.abs(measure(key=jax.random.key(12)).outputs - reference.outputs).max() > 0.1
    )


def test_stop_loss(monkeypatch):
    of_epochs = []
    with monkeypatch.context() as patch:
        look = lambda *call: of_epochs.append(np.array(call[-1][0].train_loss))
        spied(patch, "epoch", look)
        never = dataclasses.replace(CONFIG, epochs=12, stop_loss=1e-30)
        measure(config=never, member_block=6)
    losses = np.array(of_epochs)
    assert losses.shape == (12, 6)
    # Some stop and others do not, at a threshold that rounding does not reach.
    near = np.unique(losses[losses < np.median(losses[6])])
    near = near[near > np.sort(losses[-1])[1]]
    widest = np.diff(np.log(near)).argmax()
    threshold = float(np.sqrt(near[widest] * near[widest + 1]))
    assert np.abs(losses / threshold - 1).min() > 10 * ROUNDING
    config = dataclasses.replace(never, stop_loss=threshold)
    for block in (6, 1):
        stopped = measure(config=config, member_block=block)
        found = {n: np.asarray(part).ravel() for n, part in stopped.diagnostics.items()}
        reached = (losses <= threshold).any(axis=0)
        assert reached.any()
        np.testing.assert_array_equal(found["reached"], reached)
        last = np.where(reached, (losses <= threshold).argmax(axis=0), 11)
        np.testing.assert_array_equal(found["epochs"], last + 1)
        assert len(np.unique(last)) > 1
        assert_same(found["train_loss"], losses[last, np.arange(6)])
        if block == 6:
            together = stopped.outputs
    assert_same(together, stopped.outputs)


def test_a_network_without_hidden_layers_has_no_units_to_probe():
    alive = basic.AliveUnits(x=problem().x_test)
    arch = dataclasses.replace(ARCH, depth=1)
    found = measure(arch=arch, probes=(alive,), config=TrainConfig(epochs=1))
    assert found.diagnostics["alive"].shape == (3, 2, 0)


def test_progress_and_interruption():
    calls = []
    measure(member_block=3, progress=lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(i, 6) for i in range(1, 7)]
    assert all(call[2] > 0 for call in calls)

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(progress=interrupt)


def test_divergence_is_reported():
    config = dataclasses.replace(CONFIG, learning_rate=1e38)
    with pytest.raises(
        theory.NumericalError, match=r"lower `learning_rate`, now 1e\+38"
    ):
        measure(config=config)


class Halves(nn.Module):
    """Any Flax module will do: here a shared layer on both halves of the input."""

    @nn.compact
    def __call__(self, x):
        halves = x.reshape(len(x), 2, -1)
        return nn.Dense(C)(nn.tanh(nn.Dense(8)(halves))).mean(1)


def test_any_flax_module():
    draws = measure(arch=Halves(), width=None, member_block=None)
    assert draws.outputs.shape == (3, 2, 7, C)
    with pytest.raises(theory.InputError, match="`width` must be None with a Flax"):
        measure(arch=Halves(), width=3)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"draws": 0}, "`draws` must be an integer of at least 1, got 0"),
        ({"inits": True}, "`inits` must be an integer, got True"),
        ({"first_draw": -1}, "`first_draw` must be an integer of at least 0"),
        ({"member_block": 0}, "`member_block` must be an integer of at least 1"),
        ({"width": 0}, "`width` must be an integer of at least 1, got 0"),
        ({"parametrisation": "mup"}, "unknown parametrisation 'mup'"),
        ({"noise": theory.Replacement(p=1.5)}, r"`p` must be .* in \[0, 1\]"),
        ({"noise": theory.ClippedAdditive(sigma=0.5)}, "ClippedAdditive needs pixels"),
        ({"copies": 0}, "`copies` must be an integer of at least 1, got 0"),
        ({"copies": True}, "`copies` must be an integer, got True"),
        (
            {"test_corruption": theory.ClippedAdditive(sigma=0.5)},
            r"`test_corruption`: ClippedAdditive needs pixels in \[0, 1\]",
        ),
        ({"config": TrainConfig(loss="hinge")}, "unknown loss 'hinge'"),
        ({"key": 0}, "`key` must be a random key"),
        ({"arch": theory.Architecture(depth=0, activation="erf")}, "`depth` must be"),
        (
            {
                "dataset": dataclasses.replace(
                    problem(), labels_test=jnp.asarray(np.arange(3))
                )
            },
            "`labels_test` must have shape",
        ),
    ],
)
def test_bad_arguments(settings, text):
    with pytest.raises(theory.InputError, match=text):
        measure(**settings)
