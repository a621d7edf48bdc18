"""Ensembles of small networks, and a look at how their programs are called."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import theory
from ntk_corrupt.ensembles import ensemble, programs
from ntk_corrupt.training.config import TrainConfig

N, D, C = 40, 8, 3
KEY = jax.random.key(11)
ARCH = theory.Architecture(depth=2, activation="erf")
NOISE = theory.Replacement(p=0.5)
CONFIG = TrainConfig(learning_rate=1e-2, batch_size=16, epochs=3)
corrupt = jax.jit(theory.corrupt)
# Float32 of numbers of size one, grown by training: Adam divides a gradient by its
# size, also where it is a thousand times smaller than the terms it is a sum of.
ROUNDING = 1000 * float(np.finfo(np.float32).eps)


@functools.cache
def problem(dtype=np.float32):
    x = np.random.default_rng(0).normal(size=(N + 7, D)).astype(np.float32)
    x, labels = x.astype(dtype), np.arange(N + 7, dtype=np.int32) % C
    return theory.Problem(
        x_train=jnp.asarray(x[:N]),
        labels_train=jnp.asarray(labels[:N]),
        x_test=jnp.asarray(x[N:]),
        labels_test=jnp.asarray(labels[N:]),
        num_classes=C,
    )


def measure(*, noise=NOISE, dataset=None, arch=ARCH, **settings):
    defaults: dict[str, Any] = {"width": 16, "draws": 3, "inits": 2, "member_block": 2}
    defaults |= {"key": KEY, "config": CONFIG}
    dataset = problem() if dataset is None else dataset
    return ensemble.measure(arch, noise, dataset, **(defaults | settings))


def assert_same(a, b):
    # Blocks of another size are other programs.
    np.testing.assert_allclose(a, b, rtol=ROUNDING, atol=ROUNDING)


def spied(monkeypatch, name, look):
    """Calls `look(jitted, arguments, options, result)` after each call of a program."""
    original = getattr(programs, name)

    def spy(*args, **options):
        result = original(*args, **options)
        look(original, args, options, result)
        return result

    monkeypatch.setattr(programs, name, spy)
