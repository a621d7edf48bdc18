"""Speed of `ntk_corrupt.ensembles` against members trained one by one, and floors.

    python -m benchmarks.ensembles [--widths=128,256,512,1024,2048,4096]

Both sides do the whole job (corrupt, initialise, train, predict) in one process, in
turns, from compiled code; compilation is reported apart. One by one is a loop over
jitted single networks without a member axis, each draw's images made once. A ratio
above 1 means that the ensemble is faster. On a machine shared with others the ratio of
processor times, over all threads of this process, is the steadier one.

Floors, timed in the same turns. A step of one member has for each layer, of fan-in i
and fan-out o with a batch of b, three products of 2 b i o floating-point operations
(flop): forward, the gradient of the weights, and that of the layer's inputs, which the
first layer does not need. The end of the job is one forward pass over training and test
images. Products: all of this flop at the rate of the products of one step alone, as
many members at once as in a block. Adam: it reads parameters, both moments and
gradients and writes all but the last, 7 passes over the parameters, at the rate of one
pass in place over as many bytes. Neither counts activations, gathering batches or
corruption. Above 1 is how much longer the ensemble takes.
"""

import argparse
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.kernels import spread
from ntk_corrupt.ensembles import ensemble, layout
from ntk_corrupt.networks import mlp
from ntk_corrupt.training import epochs
from ntk_corrupt.training.config import PRECISIONS, TrainConfig
from theory.corruption.copies import corrupt
from theory.corruption.corruptions import Replacement
from theory.kernels.architecture import Architecture
from theory.problem import Problem

NOISE = Replacement(p=0.97)
KEY = jax.random.key(0)
_FLOOR_SECONDS = 0.2  # of each floor in each turn
_CLOCKS = (time.perf_counter, time.process_time)
Side = Callable[[], Any]
Shapes = list[tuple[int, int]]  # (fan-in, fan-out) of each layer


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
    config: TrainConfig,
) -> Side:
    """Returns a function that trains every member alone."""
    model = mlp.mlp(arch, width, problem.num_classes)

    @jax.jit
    def corrupted(draw):
        return corrupt(NOISE, KEY, draw, problem.x_train)[None]

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


def forward_flop(shapes: Shapes, points: int) -> int:
    """Returns the operations of the products of a forward pass."""
    return sum(2 * points * fan_in * fan_out for fan_in, fan_out in shapes)


def step_flop(shapes: Shapes, batch: int) -> int:
    """Returns the operations of the products of a training step."""
    return 3 * forward_flop(shapes, batch) - forward_flop(shapes[:1], batch)


def step_products(
    shapes: Shapes, batch: int, members: int, config: TrainConfig
) -> Side:
    """Returns the products of a step of several members, and nothing else."""

    keys = iter(jax.random.split(KEY, 3 * len(shapes)))
    normal = lambda *shape: jax.random.normal(next(keys), (members, *shape), "float32")
    operands = [(normal(batch, i), normal(o, i), normal(batch, o)) for i, o in shapes]

    @jax.jit
    def products(layers):
        results = []
        with config.matrix_products():
            for number, (inputs, weights, gradients) in enumerate(layers):
                results.append(jnp.einsum("mni,moi->mno", inputs, weights))
                results.append(jnp.einsum("mno,mni->moi", gradients, inputs))
                if number > 0:
                    results.append(jnp.einsum("mno,moi->mni", gradients, weights))
        return results

    return functools.partial(products, operands)


def square_product(n: int, config: TrainConfig) -> Side:
    """Returns a product of two n x n matrices."""

    @jax.jit
    def product(a):
        with config.matrix_products():
            return a @ a

    return functools.partial(product, jax.random.normal(KEY, (n, n), jnp.float32))


def one_pass(floats: int) -> Side:
    """Returns a pass in place over an array: each number is read and written."""
    add = jax.jit(lambda array: array + 1, donate_argnums=0)
    held = jnp.zeros(floats, jnp.float32)

    def run():
        nonlocal held
        held = add(held)
        return held

    return run


def seconds(side: Side) -> list[float]:
    """Returns the time of one evaluation by each clock."""
    begin = [clock() for clock in _CLOCKS]
    jax.block_until_ready(side())
    return [clock() - start for clock, start in zip(_CLOCKS, begin, strict=True)]


def repeated(side: Side) -> tuple[Side, int]:
    """Returns a floor evaluated as often as `_FLOOR_SECONDS` allow, and how often."""
    seconds(side)
    calls = max(1, round(_FLOOR_SECONDS / seconds(side)[0]))
    # An accelerator runs what is queued in order; a processor might overlap it.
    wait = jax.block_until_ready if jax.default_backend() == "cpu" else lambda x: x

    def run():
        result = None
        for _ in range(calls):
            result = wait(side())
        return result

    return run, calls


def report(args: argparse.Namespace, width: int) -> None:
    """Runs all sides of one width in turns and prints rates and ratios."""
    arch = Architecture(depth=args.depth, activation=args.activation)
    problem = synthetic(args.n_train, args.n_test, args.inputs)
    config = TrainConfig(batch_size=args.batch_size, precision=args.precision)
    members, batch = args.draws * args.inits, config.batch(args.n_train)
    size = args.member_block or len(jax.devices()) * layout.block_size(
        mlp.mlp(arch, width, problem.num_classes), config, problem, inits=args.inits
    )
    block = len(next(layout.plan(members, size))[0])
    hidden = [width] * (args.depth - 1)
    shapes = list(itertools.pairwise([args.inputs, *hidden, problem.num_classes]))
    parameters = sum((fan_in + 1) * fan_out for fan_in, fan_out in shapes)
    passed = min(4 * parameters * block, 2**28)  # numbers, at most 1 GiB

    alone = (
        step_products(shapes, batch, block, config),
        square_product(args.square, config),
        one_pass(passed),
    )
    floors, counts = zip(*map(repeated, alone), strict=True)
    counts = np.array(counts) * (block, 1, 1)  # the first one by member steps
    steps = members * -(-args.n_train // batch)  # of an epoch
    epochs = max(1, round(args.seconds / steps / (seconds(floors[0])[0] / counts[0])))
    config = dataclasses.replace(config, epochs=epochs)
    steps *= epochs
    sides: dict[str, Side] = {
        "ensemble": lambda: ensemble.measure(
            arch,
            NOISE,
            problem,
            width=width,
            draws=args.draws,
            inits=args.inits,
            key=KEY,
            config=config,
            member_block=args.member_block,
        ),
        "one by one": one_by_one(arch, problem, width, args.draws, args.inits, config),
    }
    first = {name: seconds(side)[0] for name, side in sides.items()}
    turn = (*sides.values(), *floors)
    times = np.array([[seconds(side) for side in turn] for _ in range(args.repeats)])
    wall, processor = (times[:, 1] / times[:, 0]).T
    ours, single = times[:, :2, 0].T
    step, square, one = (times[:, 2:, 0] / counts).T

    flop = step_flop(shapes, batch)
    last = forward_flop(shapes, args.n_train + args.n_test)
    work = steps * flop + members * last
    products = work / (flop / step)
    rate = 2e-9 * args.square**3 / square
    bandwidth = 2e-9 * 4 * passed / one
    adam = steps * 7e-9 * 4 * parameters / bandwidth
    print(
        f"width {width}: {members} members, {block} at once, {epochs} epochs, {steps} "
        f"member steps of {1e-9 * flop:.3g} GFLOP"
    )
    for name, column in (("ensemble", ours), ("one by one", single)):
        extra = max(first[name] - np.median(column), 0.0)
        rates = spread(steps / column, 1)
        print(f"  {name:<10} {rates} member steps/s, compilation {extra:.1f} s")
    print(
        f"  one by one / ensemble: {spread(wall, 2)}, of processor times "
        f"{spread(processor, 2)}\n"
        f"  ensemble / products: {spread(ours / products, 2)}, "
        f"/ (products + Adam): {spread(ours / (products + adam), 2)}\n"
        f"  Adam / products: {spread(adam / products, 2)}, at "
        f"{spread(bandwidth, 1)} GB/s\n"
        f"  GFLOP/s: ensemble {spread(1e-9 * work / ours, 1)}, products "
        f"{spread(1e-9 * work / products, 1)}, square {spread(rate, 1)}\n"
        f"  share of the rate of the square product: "
        f"{spread(1e-9 * work / ours / rate, 2)}",
        flush=True,
    )


def main() -> None:
    """Reads the settings and reports on each width."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--widths", default="128,512", help="by commas")
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--activation", default="erf")
    parser.add_argument("--inputs", type=int, default=784)
    parser.add_argument("--n_train", type=int, default=4000)
    parser.add_argument("--n_test", type=int, default=1000)
    parser.add_argument("--batch_size", type=int, default=250)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--inits", type=int, default=2)
    parser.add_argument("--precision", choices=list(PRECISIONS))
    parser.add_argument("--member_block", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of training; at least one epoch"
    )
    parser.add_argument(
        "--square", type=int, default=2048, help="size of the square product"
    )
    args = parser.parse_args()

    print(
        f"depth {args.depth}, {args.activation}, {args.inputs} inputs, {args.n_train} "
        f"images in batches of {args.batch_size}, precision {args.precision}, "
        f"{jax.devices()[0]}"
    )
    for width in args.widths.split(","):
        report(args, int(width))


if __name__ == "__main__":
    main()
