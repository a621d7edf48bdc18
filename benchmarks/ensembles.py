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
import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import one_by_one, timing, training_floors
from benchmarks.kernels import spread
from ntk_corrupt.ensembles import ensemble, layout
from ntk_corrupt.networks import mlp
from ntk_corrupt.training.config import PRECISIONS, TrainConfig
from theory.corruption.corruptions import Replacement
from theory.kernels.architecture import Architecture
from theory.problem import Problem

NOISE = Replacement(p=0.97)
KEY = jax.random.key(0)
_FLOOR_SECONDS = 0.2  # of each floor in each turn
_CLOCKS = (time.perf_counter, time.process_time)
Side = Callable[[], Any]


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """Times of all sides of a width, and what they had to do.

    Attributes:
        members: of the ensemble.
        block: members at once.
        epochs: of training.
        steps: of all members.
        parameters: of one.
        step_flop: operations of the products of a step of a member.
        flop: of the whole job.
        first: seconds of the first call of each side, with compilation.
        times: by turns, sides and floors, and clocks, seconds.
        step: seconds of the products of a member's step, by turns.
        rate: GFLOP/s of a square product, by turns.
        bandwidth: GB/s of a pass in place, by turns.
    """

    members: int
    block: int
    epochs: int
    steps: int
    parameters: int
    step_flop: int
    flop: int
    first: list[float]
    times: np.ndarray
    step: np.ndarray
    rate: np.ndarray
    bandwidth: np.ndarray

    @property
    def products(self) -> np.ndarray:
        """Seconds of all products at the rate of those of a step, by turns."""
        return self.flop * self.step / self.step_flop

    def least(self) -> dict[str, float]:
        """Returns the least seconds of the ensemble, one by one, and the products."""
        ours, single = self.times[:, :2, 0].min(axis=0)
        floor = self.products.min()
        return {"ours": float(ours), "peer": float(single), "floor": float(floor)}


def measured(args: argparse.Namespace, width: int) -> Measured:
    """Runs all sides of one width in turns."""
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
        training_floors.step_products(shapes, batch, block, config),
        training_floors.square_product(args.square, config),
        training_floors.one_pass(passed),
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
        "one by one": one_by_one.trainer(
            NOISE, arch, problem, width, args.draws, args.inits, config
        ),
    }
    first = [seconds(side)[0] for side in sides.values()]
    turn = (*sides.values(), *floors)
    times = np.array([[seconds(side) for side in turn] for _ in range(args.repeats)])
    step, square, one = (times[:, 2:, 0] / counts).T
    flop = training_floors.step_flop(shapes, batch)
    return Measured(
        members=members,
        block=block,
        epochs=epochs,
        steps=steps,
        parameters=parameters,
        step_flop=flop,
        flop=steps * flop
        + members * training_floors.forward_flop(shapes, args.n_train + args.n_test),
        first=first,
        times=times,
        step=step,
        rate=2e-9 * args.square**3 / square,
        bandwidth=2e-9 * 4 * passed / one,
    )


def report(found: Measured, width: int) -> None:
    """Prints rates and ratios of one width."""
    wall, processor = (found.times[:, 1] / found.times[:, 0]).T
    ours, single = found.times[:, :2, 0].T
    products, work, rate = found.products, found.flop, found.rate
    adam = found.steps * 7e-9 * 4 * found.parameters / found.bandwidth
    print(
        f"width {width}: {found.members} members, {found.block} at once, "
        f"{found.epochs} epochs, {found.steps} member steps of "
        f"{1e-9 * found.step_flop:.3g} GFLOP"
    )
    for name, column, first in zip(
        ("ensemble", "one by one"), (ours, single), found.first, strict=True
    ):
        extra = max(first - np.median(column), 0.0)
        rates = spread(found.steps / column, 1)
        print(f"  {name:<10} {rates} member steps/s, compilation {extra:.1f} s")
    print(
        f"  one by one / ensemble: {spread(wall, 2)}, of processor times "
        f"{spread(processor, 2)}\n"
        f"  ensemble / products: {spread(ours / products, 2)}, "
        f"/ (products + Adam): {spread(ours / (products + adam), 2)}\n"
        f"  Adam / products: {spread(adam / products, 2)}, at "
        f"{spread(found.bandwidth, 1)} GB/s\n"
        f"  GFLOP/s: ensemble {spread(1e-9 * work / ours, 1)}, products "
        f"{spread(1e-9 * work / products, 1)}, square {spread(rate, 1)}\n"
        f"  share of the rate of the square product: "
        f"{spread(1e-9 * work / ours / rate, 2)}",
        flush=True,
    )


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Returns the settings, of the command line if none are given."""
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
    return parser.parse_args(given)


def main() -> None:
    """Reports on each width."""
    args = arguments()
    print(
        f"depth {args.depth}, {args.activation}, {args.inputs} inputs, {args.n_train} "
        f"images in batches of {args.batch_size}, precision {args.precision}, "
        f"{timing.machine()}"
    )
    for width in args.widths.split(","):
        report(measured(args, int(width)), int(width))


if __name__ == "__main__":
    main()
