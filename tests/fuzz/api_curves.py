"""Base calls of what reads curves."""

import numpy as np
from arguments import Argument
from base_calls import Call

from ntk_corrupt import curves
from ntk_corrupt.curves import bootstrap, crossings, finite_size, power_law
from ntk_corrupt.label_noise import detection, stopping


def _bootstrapped(**arguments):
    rng = np.random.default_rng(0)
    return bootstrap.bootstrap(lambda mean: float(np.mean(mean)), rng=rng, **arguments)


def calls() -> list[Call]:
    strength = np.linspace(0, 1, 9)
    accuracy = 0.1 + 0.8 / (1 + np.exp((strength - 0.5) / 0.1))
    sizes = np.array([100.0, 200.0, 400.0, 800.0])
    distance = sizes**-0.5 + [0.01, 0, 0.02, 0]
    curve, share = Argument("curve", strength), Argument("share", 0.125)
    path = np.array([0.5, 0.25, 0.125, 0.25])
    losses = np.array([0.5, 0.125, 2.0, 0.25, 3.0, 0.375, 0.5, 2.5])
    samples = np.random.default_rng(1).integers(-16, 17, (3, 20)) / 8
    several = np.stack([accuracy ** (1 + 0.1 * k) for k in range(4)])
    return [
        Call(
            "curves.fit_sigmoid",
            curves.fit_sigmoid,
            {
                "strength": curve,
                "accuracy": Argument("curve", accuracy),
                "chance": share,
            },
        ),
        Call(
            "curves.half_height",
            curves.half_height,
            {
                "strength": curve,
                "accuracy": Argument("curve", accuracy),
                "chance": share,
            },
        ),
        Call(
            "curves.threshold_crossing",
            crossings.threshold_crossing,
            {
                "p": curve,
                "accuracy": Argument("stack", accuracy),
                "threshold": Argument("share", 0.5),
            },
        ),
        Call(
            "curves.power_law",
            power_law.power_law,
            {
                "sizes": Argument("curve", sizes),
                "distance": Argument("positive_curve", distance),
            },
        ),
        Call(
            "curves.bootstrap",
            _bootstrapped,
            {
                "samples": Argument("stack", samples),
                "resamples": Argument("size", 20),
                "level": Argument("share", 0.5),
            },
        ),
        Call(
            "curves.collapse",
            finite_size.collapse,
            {
                "p": curve,
                "accuracy": Argument("paired", several),
                "sizes": Argument("curve", sizes),
                "grid": Argument("count", 5),
            },
            {"p_c": (0.3, 0.7), "nu": (0.5, 2.0)},
            unknown=True,
        ),
        Call("stopping.oracle", stopping.oracle, {"accuracy": Argument("curve", path)}),
        Call(
            "stopping.noisy_validation",
            stopping.noisy_validation,
            {
                "accuracy": Argument("curve", path),
                "patience": Argument("count", 2, True),
            },
        ),
        Call(
            "stopping.loss_gap",
            stopping.loss_gap,
            {
                "train_loss": Argument("curve", path),
                "valid_loss": Argument("curve", path + 0.01),
                "tolerance": Argument("above_zero", 0.125),
            },
        ),
        Call(
            "stopping.distance_budget",
            stopping.distance_budget,
            {
                "distance": Argument("curve", path),
                "budget": Argument("length", 0.3),
            },
        ),
        Call(
            "detection.beyond",
            detection.beyond,
            {"losses": Argument("curve", losses), "threshold": Argument("number", 1.0)},
        ),
        Call(
            "detection.mixture",
            detection.mixture,
            {"losses": Argument("curve", losses)},
        ),
        Call(
            "detection.loss_of_guessing",
            detection.loss_of_guessing,
            {"loss": Argument("name", "mse"), "num_classes": Argument("count", 3)},
        ),
    ]
