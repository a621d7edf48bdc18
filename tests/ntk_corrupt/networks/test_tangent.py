"""Networks that are linear in their parameters: where they start and end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from jax.flatten_util import ravel_pytree
from small_ensembles import ARCH, KEY, NOISE, measure, problem

from ntk_corrupt.ensembles import programs
from ntk_corrupt.ensembles.linearised import measure_linearised
from ntk_corrupt.kernels import linearised
from ntk_corrupt.networks import mlp
from ntk_corrupt.networks.tangent import Tangent
from ntk_corrupt.probes import Parameters
from ntk_corrupt.training.config import TrainConfig
from theory.corruption.copies import corrupt_problem

MODEL = mlp.mlp(ARCH, 64, 3, parametrisation="ntk")
# outputs of size one in float32, through a kernel of condition 1e2
CLOSE = 1e-3


def of(arch, **settings):
    return measure(arch=arch, width=None, draws=1, inits=2, **settings)


def test_it_starts_as_the_network():
    untrained = TrainConfig(epochs=0)
    one, other = (of(arch, config=untrained) for arch in (MODEL, Tangent(MODEL)))
    np.testing.assert_allclose(one.outputs, other.outputs, atol=1e-6)


def test_descent_ends_at_the_regression_with_its_kernel():
    config = TrainConfig(
        optimiser="momentum",
        learning_rate=2.0,
        batch_size=100,
        epochs=4000,
        stop_loss=1e-9,
    )
    trained = of(Tangent(MODEL), config=config)
    assert np.asarray(trained.diagnostics["reached"]).all()
    solved = measure_linearised(MODEL, NOISE, problem(), draws=1, inits=2, key=KEY)
    np.testing.assert_allclose(trained.outputs, solved.outputs, atol=CLOSE)
    # the network itself moves its kernel
    moved = of(MODEL, config=config)
    assert np.abs(np.asarray(moved.outputs - solved.outputs)).max() > 10 * CLOSE


def test_the_kernel_after_training():
    config = TrainConfig(learning_rate=0.1, batch_size=16, epochs=3)
    nets = of(MODEL, config=config, probes=(Parameters(),))
    found = measure_linearised(
        MODEL, NOISE, problem(), draws=1, inits=2, key=KEY, trained=config
    )
    seen = corrupt_problem(NOISE, problem(), KEY, 0)
    for init in range(2):
        start = programs.initial(MODEL, KEY, jnp.array([0, init]), 8)
        end = ravel_pytree(start)[1](nets.diagnostics["parameters"][0, init])
        moved = [
            jnp.abs(a - b).max()
            for a, b in zip(*map(jax.tree.leaves, (start, end)), strict=True)
        ]
        assert min(map(float, moved)) > 1e-3
        expected = linearised.regress(
            MODEL, start, seen.x_train, seen.y, seen.x_test, at=end
        )
        np.testing.assert_allclose(found.outputs[0, init], expected, atol=CLOSE)
        at_start = linearised.regress(MODEL, start, seen.x_train, seen.y, seen.x_test)
        assert np.abs(np.asarray(at_start - expected)).max() > 10 * CLOSE


@pytest.mark.parametrize("optimiser", ["adam", "sgd", "gd"])
def test_no_optimiser_moves_the_start(optimiser):
    config = TrainConfig(optimiser=optimiser, learning_rate=0.05, epochs=2)
    nets = of(Tangent(MODEL), config=config, probes=(Parameters(),))
    start = programs.initial(MODEL, KEY, jnp.array([0, 0]), 8)
    whole = Tangent(MODEL).init(KEY, jnp.zeros((1, 8), jnp.float32))
    found = ravel_pytree(whole)[1](nets.diagnostics["parameters"][0, 0])["params"]
    for one, other in zip(
        *(jax.tree.leaves(tree) for tree in (found["start"], start["params"])),
        strict=True,
    ):
        # drawn by two programs: a product by the root of the variance may round
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_decay_is_refused():
    with raises("`optimiser` must not be adamw for a Tangent"):
        of(Tangent(MODEL), config=TrainConfig(optimiser="adamw"))
