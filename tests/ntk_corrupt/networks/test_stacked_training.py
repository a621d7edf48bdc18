"""Ensembles of networks of a stack, trained on digits: as others, as their kernel."""

import functools
from typing import Any

import jax
import numpy as np
from closeness import within
from small_ensembles import assert_same

import theory
from ntk_corrupt import data, ensembles
from ntk_corrupt.networks import stacked
from ntk_corrupt.training.config import TrainConfig
from theory import architectures

KEY = jax.random.key(3)
C = 10
STACK = architectures.convolutional(
    depth=3, shape=(8, 8, 1), activation="relu", pooling="local", w_var=2.0, b_var=0.1
)


@functools.cache
def measure(*, epochs=4, **settings):
    chosen: dict[str, Any] = dict(draws=2, inits=2, member_block=4) | settings
    return ensembles.measure(
        stacked.network(STACK, 8, C),
        theory.Replacement(p=0.2),
        data.load("digits", n_train=150, n_test=100),
        key=KEY,
        config=TrainConfig(learning_rate=1e-2, batch_size=50, epochs=epochs),
        **chosen,
    )


def test_ensembles_learn_digits():
    outputs = np.asarray(measure(epochs=40).outputs)
    assert outputs.shape == (2, 2, 100, C)
    labels = np.asarray(data.load("digits", n_train=150, n_test=100).labels_test)
    right = (outputs.argmax(-1) == labels).mean(-1)
    # guessing is right in 0.1, with a standard error of 0.03
    assert (right > 0.4).all(), right


def test_training_again_gives_the_same_bits():
    again = measure.__wrapped__()
    np.testing.assert_array_equal(again.outputs, measure().outputs)


def test_a_member_alone_is_the_member_in_the_ensemble():
    alone = measure(draws=1, inits=1, first_draw=1, member_block=1)
    assert_same(alone.outputs[0, 0], measure().outputs[1, 0])


# --- near the kernel ----------------------------------------------------------

N, M, STEPS, NETS = 10, 6, 250, 32


def regression(nngp, ntk, y, rate):
    """Mean and variance of gradient descent on the kernels, docs/theory/training.md."""
    k, ask = ntk[:N, :N], ntk[N:, :N]
    values, vectors = np.linalg.eigh(k)
    # the loss is the mean over N images and C outputs
    moved = 1 - (1 - 2 * rate / (N * C) * values) ** STEPS
    assert moved.min() > 0.95  # where training ends
    smooth = ask @ (vectors * (moved / values)) @ vectors.T
    cross = smooth @ nngp[:N, N:]
    var = nngp[N:, N:] + smooth @ nngp[:N, :N] @ smooth.T - cross - cross.T
    return smooth @ y, np.diag(var)


def test_wide_networks_end_near_the_regression_of_their_kernels():
    stack = architectures.convolutional(
        depth=2, shape=(8, 8, 1), activation="erf", pooling="local", w_var=1.5,
        b_var=0.1,
    )  # fmt: skip
    problem = data.load("digits", n_train=N, n_test=M)
    x = np.concatenate([problem.x_train, problem.x_test])
    pair = architectures.gram(x, stack)
    kernels = [np.asarray(of, float) for of in (pair.nngp, pair.ntk)]
    rate = N * C / 2 / np.linalg.eigvalsh(kernels[1][:N, :N])[-1]
    y = np.eye(C)[np.asarray(problem.labels_train)]
    mean, var = regression(*kernels, y, rate)
    found = ensembles.measure(
        stacked.network(stack, 48, C, parametrisation="ntk"),
        theory.Replacement(p=0.0),
        problem,
        draws=1,
        inits=NETS,
        key=KEY,
        config=TrainConfig(optimiser="gd", learning_rate=rate, epochs=STEPS),
        member_block=NETS,
    )
    outputs = np.asarray(found.outputs[0], float)
    within(outputs, mean)
    # of 16 channels it is off by 15 ± 7 %
    within(((outputs - mean) ** 2).mean(-1), var)
