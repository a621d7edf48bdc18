"""Networks beside kernels of several kinds: settings and cells."""

import dataclasses

from experiments.harness.flags import fixed, setting
from experiments.harness.run_directory import Cell
from experiments.shared import routes

# Kernels by what is trained: the training rates of the networks that have it.
_KERNELS = {"no biases": {"rates": "ntk"}, "trained biases": {"rates": "standard"}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WhyNotTheKernel(routes.Routes):
    """Settings of the experiment: those of the network as it is usually trained."""

    p: tuple[float, ...] = setting((0.5, 0.9), "corruption levels in [0, 1]")
    n_train: int = setting(300, "training images, balanced over classes")
    size: int | None = setting(
        14, "side in pixels to resize the images to; or none", most=1024
    )
    width: int = setting(128, "units of each hidden layer")
    rates: str = fixed("ntk")
    times: int = setting(4, "how much wider the wide networks are")
    descent_rate: float = setting(
        4.0,
        "step of gradient descent in NTK parametrisation; over width in the other",
        above=0,
    )
    descent_epochs: int = setting(1000, "most steps of gradient descent, heavy ball")
    end_loss: float = setting(
        1e-5, "training loss of networks trained to the end", above=0
    )
    draws: int = setting(4, "corruption draws per subset")
    inits: int = setting(4, "networks per draw")


def variants(config: WhyNotTheKernel) -> dict[str, WhyNotTheKernel]:
    """Returns networks by what is switched off."""
    descent = {
        # all images at once; the end is that of gradient flow, a tenth of the steps
        "optimiser": "momentum",
        "batch_size": config.n_train,
        "learning_rate": config.descent_rate / config.width,
        "epochs": config.descent_epochs,
    }
    ntk = {
        "parametrisation": "ntk",
        # a weight is sqrt(fan_in) times as large here, and Adam's step as it is
        "learning_rate": config.learning_rate * config.width**0.5,
    }
    end = {"stop_loss": config.end_loss, "epochs": 5 * config.epochs}
    wide = {"width": config.times * config.width}
    # Adam moves every weight by its rate: one step moves outputs by rate times width
    slow = {"learning_rate": config.learning_rate / config.times}
    changes = {
        "as trained": {},
        "gradient descent": descent,
        "NTK parametrisation": ntk,
        "no trained biases": {"biases": False},
        "trained to the end": end,
        "smaller steps": slow,
        f"{config.times} times as wide": wide,
        "as wide, smaller steps": {**wide, **slow},
        "all of these": {
            **ntk,
            **descent,
            **wide,
            "learning_rate": config.descent_rate,
            "stop_loss": config.end_loss,
            "biases": False,
        },
    }
    return {
        name: dataclasses.replace(config, **change) for name, change in changes.items()
    }


def _kernels(config: WhyNotTheKernel) -> dict[str, WhyNotTheKernel]:
    return {
        name: dataclasses.replace(config, **change) for name, change in _KERNELS.items()
    }


def check(config: WhyNotTheKernel) -> None:
    """Raises `InputError` on bad settings."""
    for each in (*variants(config).values(), *_kernels(config).values()):
        routes.check(each)


def cells(config: WhyNotTheKernel) -> list[Cell]:
    """One cell per network or kernel, level and training subset."""
    found = []
    for subset in range(config.subsets):
        for p in config.p:
            for route in config.routes:
                kinds = variants(config) if route == "network" else _kernels(config)
                found += [
                    Cell({**routes.cell(each, route, p, subset).settings, "kind": name})
                    for name, each in kinds.items()
                ]
    return found


compute = routes.compute
