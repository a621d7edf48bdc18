"""Speed of `ntk_corrupt.ensembles` against the same members trained one by one.

    python -m benchmarks.ensembles

Both sides do the whole job (corrupt, initialise, train, predict) in one process, in
turns, from compiled code; compilation is reported apart. One by one is a loop over
jitted single networks without a member axis, each draw's images made once. A ratio
above 1 means that the ensemble is faster. On a machine shared with others the ratio of
processor times, over all threads of this process, is the steadier one.
"""

import argparse
import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ntk_corrupt import ensembles, models, training
from theory.corrupted import corrupt
from theory.corruption import Replacement
from theory.problem import Architecture, Problem

NOISE = Replacement(p=0.97)
KEY = jax.random.key(0)


def synthetic(n_train: int, n_test: int, d: int) -> Problem:
    """Returns standard normal images with ten balanced classes."""
    x = jax.random.normal(KEY, (n_train + n_test, d), jnp.float32)
    labels = jnp.arange(n_train + n_test, dtype=jnp.int32) % 10
    return Problem(
        x_train=x[:n_train],
        labels_train=labels[:n_train],
        x_test=x[n_train:],
        labels_test=labels[n_train:],
        num_classes=10,
    )


def one_by_one(
    arch: Architecture,
    problem: Problem,
    width: int,
    draws: int,
    inits: int,
    config: training.TrainConfig,
) -> Callable[[], list[jax.Array]]:
    """Returns a function that trains every member alone."""
    model = models.mlp(arch, width, problem.num_classes)

    @jax.jit
    def corrupted(draw):
        return corrupt(NOISE, KEY, draw, problem.x_train)[None]

    @jax.jit
    def start(member):
        key = jax.random.fold_in(KEY, member)
        params = model.init(key, problem.x_train[:1])
        return training.start(config, params, jax.random.fold_in(key, 1))

    @functools.partial(jax.jit, donate_argnums=0)
    def run_epoch(member, x, epoch):
        return training.run_epoch(
            model.apply, config, member, x, problem.labels_train, epoch=epoch
        )

    @jax.jit
    def finish(member, x):
        loss = training.train_loss(
            model.apply, config, member.params, x, problem.labels_train
        )
        block = config.batch_size
        return loss, training.predict(
            model.apply, member.params, problem.x_test, block=block
        )

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


def main() -> None:
    """Runs both sides in turns and prints rates and their ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--activation", default="erf")
    parser.add_argument("--inputs", type=int, default=784)
    parser.add_argument("--n_train", type=int, default=4000)
    parser.add_argument("--batch_size", type=int, default=250)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--inits", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--member_block", type=int, default=None)
    args = parser.parse_args()

    arch = Architecture(depth=args.depth, activation=args.activation)
    problem = synthetic(args.n_train, 1000, args.inputs)
    config = training.TrainConfig(epochs=args.epochs, batch_size=args.batch_size)
    sides = {
        "ensemble": lambda: (
            ensembles.measure(
                arch,
                NOISE,
                problem,
                width=args.width,
                draws=args.draws,
                inits=args.inits,
                key=KEY,
                config=config,
                member_block=args.member_block,
            ).outputs
        ),
        "one by one": one_by_one(
            arch, problem, args.width, args.draws, args.inits, config
        ),
    }
    members = args.draws * args.inits
    steps = members * args.epochs * -(-args.n_train // args.batch_size)

    clocks = (time.perf_counter, time.process_time)

    def seconds(side: str) -> list[float]:
        begin = [clock() for clock in clocks]
        jax.block_until_ready(sides[side]())
        return [clock() - start for clock, start in zip(clocks, begin, strict=True)]

    first = {side: seconds(side)[0] for side in sides}
    both = np.array([[seconds(side) for side in sides] for _ in range(args.repeats)])
    times = both[..., 0]
    print(
        f"{members} members, depth {args.depth}, width {args.width}, {args.inputs} "
        f"inputs, batch {args.batch_size}, {steps} member steps, {jax.devices()[0]}"
    )
    for side, column in zip(sides, times.T, strict=True):
        rates = steps / column
        print(
            f"{side:>10}: {np.median(rates):8.1f} member steps/s "
            f"[{rates.min():.1f}, {rates.max():.1f}], "
            f"compilation {first[side] - np.median(column):.1f} s"
        )
    for name, ratios in zip(
        ("ratio", "ratio of processor times"), (both[:, 1] / both[:, 0]).T, strict=True
    ):
        print(
            f"{name}: {np.median(ratios):.2f} [{ratios.min():.2f}, {ratios.max():.2f}]"
        )


if __name__ == "__main__":
    main()
