"""Members of an ensemble trained alone, one after the other: its peer."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from ntk_corrupt.networks import mlp
from ntk_corrupt.training import epochs
from ntk_corrupt.training.config import TrainConfig
from theory.corruption.base import Corruption
from theory.corruption.copies import corrupt
from theory.kernels.architecture import Architecture
from theory.problem import Problem

KEY = jax.random.key(0)
Side = Callable[[], Any]


def trainer(
    noise: Corruption,
    arch: Architecture,
    problem: Problem,
    width: int,
    draws: int,
    inits: int,
    config: TrainConfig,
) -> Side:
    """Returns a function that trains every member alone."""
    model = mlp.mlp(arch, width, problem.num_classes)

    @jax.jit
    def corrupted(draw):
        return corrupt(noise, KEY, draw, problem.x_train)[None]

    @jax.jit
    def start(member):
        key = jax.random.fold_in(KEY, member)
        params = model.init(key, problem.x_train[:1])
        return epochs.start(config, params, jax.random.fold_in(key, 1))

    @functools.partial(jax.jit, donate_argnums=0)
    def run_epoch(member, x, epoch):
        return epochs.run_epoch(
            model.apply, config, member, x, problem.labels_train, epoch=epoch
        )

    @jax.jit
    def finish(member, x):
        loss = epochs.train_loss(
            model.apply, config, member.params, x, problem.labels_train
        )
        return loss, epochs.predict(model.apply, config, member.params, problem.x_test)

    def run():
        results = []
        for draw in range(draws):
            x = corrupted(draw)
            for init in range(inits):
                member = start(draw * inits + init)
                for epoch in range(config.epochs):
                    member, _ = run_epoch(member, x, epoch)
                results.append(finish(member, x))
        return results

    return run
