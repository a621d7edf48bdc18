"""Base calls of what trains networks, and of what they are trained on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from arguments import Argument
from base_calls import C, Call, D, M, N, points, problem

import theory
from ntk_corrupt import data, label_noise, probes, rbm, training
from ntk_corrupt.ensembles import measure, measure_linearised
from ntk_corrupt.kernels import convolutional, empirical, linearised
from ntk_corrupt.networks import cnn, mlp, stacked
from ntk_corrupt.spectral import heads, kept_dimensions, truncation
from theory import architectures


def spectral_of_head(w):
    """The singular directions of a head of these weights, up to their sign."""
    return abs(truncation.of_head(heads.Head(w=w, b=jnp.zeros(C))).components)


def calls() -> list[Call]:
    """Training, kernels of networks, machines, labels and data."""
    rng, key = np.random.default_rng(0), jax.random.key(0)
    given, noise = problem(rng), theory.Replacement(p=0.75)
    arch = theory.Architecture(depth=2, activation="erf", w_var=1.5, b_var=0.25)
    x, y = given.x_train, np.arange(N) % C
    config = training.TrainConfig(epochs=1, batch_size=5)
    network = mlp.mlp(arch, 4, C)
    params = network.init(key, jnp.asarray(x[:1], jnp.float32))
    machine = rbm.Rbm(
        weights=points(rng, 3, D) / 8,
        hidden_bias=jnp.zeros(3),
        visible_bias=jnp.zeros(D),
    )
    small_stack = architectures.convolutional(
        depth=2, shape=(3, 3, 1), activation="relu"
    )
    pixels = Argument("pixels", (x + 2) / 4)
    head = heads.Head(w=points(rng, C, 4), b=points(rng, C))
    return [
        Call(
            "ensembles.measure",
            measure,
            {
                "arch": Argument("architecture", arch),
                "corruption": Argument("corruption", noise),
                "problem": Argument("problem", given),
                "width": Argument("size", 4),
                "draws": Argument("size", 1),
                "inits": Argument("size", 2),
                "key": Argument("key", key),
                "config": Argument("object", config),
                "parametrisation": Argument("name", "standard"),
                "copies": Argument("size", 1),
                "first_draw": Argument("whole", 0),
            },
        ),
        Call(
            "ensembles.measure_linearised",
            measure_linearised,
            {
                "arch": Argument("architecture", arch),
                "corruption": Argument("corruption", noise),
                "problem": Argument("problem", given),
                "width": Argument("size", 9),
                "draws": Argument("size", 1),
                "inits": Argument("size", 2),
                "key": Argument("key", key),
                "parametrisation": Argument("name", "ntk"),
                "first_draw": Argument("whole", 0),
                "ridge": Argument("positive", 0.5),
            },
        ),
        Call(
            "linearised.regress",
            lambda **of: linearised.regress(network, params, **of),
            {
                "x": Argument("pixels", x),
                "y": Argument("paired", given.y),
                "x_test": Argument("pixels", given.x_test),
                "ridge": Argument("positive", 0.5),
            },
        ),
        Call(
            "TrainConfig",
            lambda epochs, batch_size, learning_rate, loss, optimiser: measure(
                arch,
                noise,
                given,
                width=4,
                draws=1,
                inits=1,
                key=key,
                config=training.TrainConfig(
                    epochs=epochs,
                    batch_size=batch_size,
                    learning_rate=learning_rate,
                    loss=loss,
                    optimiser=optimiser,
                ),
            ),
            {
                "epochs": Argument("count", 1),
                "batch_size": Argument("count", 5),
                "learning_rate": Argument("above_zero", 0.125),
                "loss": Argument("name", "mse"),
                "optimiser": Argument("name", "adam"),
            },
        ),
        Call(
            "networks.mlp",
            lambda **of: mlp.mlp(**of).init(key, jnp.ones((1, D))),
            {
                "arch": Argument("architecture", arch),
                "width": Argument("size", 4),
                "num_classes": Argument("count", C),
                "parametrisation": Argument("name", "standard"),
                "biases": Argument("flag", True),
            },
        ),
        Call(
            "networks.cnn",
            lambda **of: cnn.cnn(**of).init(key, jnp.ones((1, 64))),
            {
                "side": Argument("count", 8),
                "num_classes": Argument("count", C),
                "dense": Argument("size", 4),
                "activation": Argument("name", "relu"),
                "w_var": Argument("positive", 1.5),
                "b_var": Argument("positive", 0.25),
            },
        ),
        Call(
            "networks.stacked",
            lambda **of: stacked.network(small_stack, **of).init(key, jnp.ones((1, 9))),
            {
                "channels": Argument("size", 4),
                "num_classes": Argument("count", C),
                "parametrisation": Argument("name", "standard"),
            },
        ),
        Call(
            "kernels.convolutional",
            lambda **of: convolutional.ntk(**of),
            {
                "convolutions": Argument("whole", 1),
                "pooled": Argument("flag", True),
                "activation": Argument("name", "relu"),
                "w_var": Argument("positive", 1.5),
                "b_var": Argument("positive", 0.25),
            },
        ),
        Call(
            "empirical.ntk",
            empirical.ntk,
            {"model": Argument("object", network), "x": Argument("pixels", x)},
            {"params": params},
        ),
        Call(
            "empirical.alignment",
            empirical.alignment,
            {
                "one": Argument("gram", x @ x.T),
                "other": Argument("gram", x @ x.T + jnp.eye(N)),
            },
        ),
        Call(
            "empirical.distance",
            empirical.distance,
            {
                "one": Argument("gram", x @ x.T),
                "other": Argument("gram", x @ x.T + jnp.eye(N)),
            },
        ),
        Call(
            "probes.margin",
            probes.margin,
            {
                "outputs": Argument("paired", points(rng, N, C)),
                "labels": Argument("labels", y),
            },
        ),
        Call(
            "spectral.of_head",
            spectral_of_head,
            {"w": Argument("points", head.w)},
        ),
        Call(
            "spectral.fit",
            lambda features: truncation.SpectralTruncation.fit(features).shares,
            {"features": Argument("points", points(rng, N, 4))},
        ),
        Call(
            "spectral.accuracy",
            kept_dimensions.accuracy,
            {
                "decisions": Argument("free_labels", y),
                "labels": Argument("free_labels", (y + 1) % C),
            },
        ),
        Call(
            "rbm.hidden", rbm.hidden, {"rbm": Argument("object", machine), "v": pixels}
        ),
        Call(
            "rbm.free_energy",
            rbm.free_energy,
            {"rbm": Argument("object", machine), "v": pixels},
        ),
        Call(
            "rbm.log_likelihood",
            rbm.log_likelihood,
            {"rbm": Argument("object", machine), "v": pixels},
        ),
        Call(
            "rbm.pseudo_likelihood",
            rbm.pseudo_likelihood,
            {"rbm": Argument("object", machine), "v": pixels},
        ),
        Call(
            "rbm.fit",
            rbm.fit,
            {
                "key": Argument("key", key),
                "x": Argument("points", (x > 0).astype(float)),
                "components": Argument("size", 3),
                "k": Argument("count", 1),
                "learning_rate": Argument("above_zero", 0.125),
                "batch_size": Argument("count", 5),
                "epochs": Argument("count", 1),
                "persistent": Argument("flag", False),
            },
        ),
        Call(
            "label_noise.corrupt_labels",
            label_noise.corrupt_labels,
            {
                "labels": Argument("indices", y),
                "share": Argument("share", 0.25),
                "num_classes": Argument("count", C),
                "mode": Argument("name", "uniform"),
                "key": Argument("key", key),
            },
        ),
        Call(
            "data.from_arrays",
            data.from_arrays,
            {
                "x_train": Argument("points", x),
                "labels_train": Argument("labels", y),
                "x_test": Argument("pixels", given.x_test),
                "labels_test": Argument("labels", np.arange(M) % C),
                "normalise": Argument("name", "standardise"),
                "num_classes": Argument("count", C),
                "n_train": Argument("size", N, True),
                "n_test": Argument("size", 3, True),
                "seed": Argument("whole", 0),
            },
        ),
        Call(
            "data.gaussian_prototypes",
            data.gaussian_prototypes,
            {
                "num_classes": Argument("count", C),
                "n_train": Argument("size", 9),
                "n_test": Argument("size", 6),
                "d": Argument("size", D),
                "noise_std": Argument("positive", 0.5),
                "normalise": Argument("name", "standardise"),
                "seed": Argument("whole", 0),
            },
        ),
        Call(
            "data.load",
            functools.partial(data.load, "digits"),
            {
                "n_train": Argument("size", 20, True),
                "n_test": Argument("size", 10, True),
                "normalise": Argument("name", "standardise"),
                "seed": Argument("whole", 0),
                "size": Argument("size", 4, True),
            },
        ),
        Call(
            "data.find_duplicates", data.find_duplicates, {"x": Argument("images", x)}
        ),
    ]
