"""Rates at which Adam trains the layers of a network, measured and predicted.

    python -m benchmarks.adam_rates [--widths=128,512,2048] [--activations=erf,relu]

Second moments of the optimiser, averaged over the parameters of a layer and over
networks, after the first epoch and where training ends, beside `theory.adam_rates` at
the start. Printed: 1/root of them over that of the second layer's weights, weights and
biases of every layer; digits at 14 x 14 pixels, corrupted by replacement.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

import theory
from ntk_corrupt.data import loading
from ntk_corrupt.ensembles import programs
from ntk_corrupt.networks import mlp
from ntk_corrupt.training import epochs
from ntk_corrupt.training.config import TrainConfig
from theory.keys import stream

DEPTH = 3


def relative(weights: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """Steps over gradients, weights of all layers and then biases."""
    return np.concatenate([weights, biases]) / weights[1]


def measured(model, config, x, labels, key, networks: int) -> dict[str, np.ndarray]:
    """Steps over gradients of Adam after an epoch, and at the end of training."""

    def roots(states) -> np.ndarray:
        squares = []
        for state in states:
            adam = state.opt_state[0]
            weight = 1 - 0.999 ** float(adam.count)
            layers = adam.nu["params"]
            squares.append(
                [
                    [float(layers[f"layer_{at}"][name].mean()) / weight]
                    for name in ("kernel", "bias")
                    for at in range(1, DEPTH + 1)
                ]
            )
        found = 1 / np.sqrt(np.mean(squares, axis=0)[:, 0])
        return relative(found[:DEPTH], found[DEPTH:])

    step = jax.jit(
        lambda member, epoch: epochs.run_epoch(
            model.apply, config, member, x[None], labels, epoch=epoch
        )[0]
    )
    first, last = [], []
    for number in range(networks):
        at = jnp.asarray([0, number])
        params = programs.initial(model, key, at, x.shape[1])
        member = epochs.start(config, params, jax.random.fold_in(key, number))
        for epoch in range(config.epochs):
            member = step(member, epoch)
            if epoch == 0:
                first.append(member)
            if not bool(member.active):
                break
        last.append(member)
    return {"after one epoch": roots(first), "at the end": roots(last)}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", default="128,512,2048", help="by commas")
    parser.add_argument("--activations", default="erf,relu", help="by commas")
    parser.add_argument("--p", type=float, default=0.5)
    parser.add_argument("--n", type=int, default=300, help="training images")
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--batch_size", type=int, default=250)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    data = loading.load("digits", n_train=args.n, n_test=10, size=14)
    corruption = theory.Replacement(p=args.p, noise=theory.Uniform(-(3**0.5), 3**0.5))
    key = stream(jax.random.key(0), "adam")
    x = theory.corrupt(corruption, key, 0, data.x_train.astype(jnp.float64))
    head = [f"{kind}_{at}" for kind in ("W", "b") for at in range(1, DEPTH + 1)]
    print(f"{'':>32}" + "".join(f"{name:>8}" for name in head))
    for name in args.activations.split(","):
        arch = theory.Architecture(depth=DEPTH, activation=name)
        for width in map(int, args.widths.split(",")):
            widths = (x.shape[1], *[width] * (DEPTH - 1))
            found = theory.adam_rates(
                arch, widths, x, data.y.astype(x.dtype), batch_size=args.batch_size
            )
            assert found.w_rates is not None
            assert found.b_rates is not None
            predicted = np.array(found.w_rates) / np.array(widths)
            rows = {"predicted": relative(predicted, np.array(found.b_rates))}
            config = TrainConfig(
                learning_rate=1e-3 * (128 / width) ** 0.5,
                batch_size=args.batch_size,
                epochs=400,
                stop_loss=1e-3,
            )
            model = mlp.mlp(arch, width, data.num_classes)
            rows |= measured(
                model,
                config,
                x.astype(jnp.float32),
                data.labels_train,
                key,
                args.networks,
            )
            for what, row in rows.items():
                title = f"{name}, width {width}, {what}"
                print(f"{title:<32}" + "".join(f"{v:>8.3f}" for v in row), flush=True)


if __name__ == "__main__":
    main()
