"""Networks beside their kernel, step by step: settings and cells.

A ladder from the infinitely wide network to the trained one. Each step changes one
thing, on the same corrupted images, and from `linearised` on for the same networks:

    exact       kernel of infinite width, trained to the end
    lazy        law of networks of this width that stay near their start
    linearised  this very network, its kernel at the start, trained to the end
    adam        the same, its layers at the rates that Adam gives them, if it does
    tangent     the same, trained as the network is: optimiser, steps, end
    network     the network

and beside them `final`: this network's kernel after training, trained to the end.
"""

import dataclasses

from experiments.harness.flags import fixed, setting
from experiments.harness.run_directory import Cell
from experiments.shared import routes
from theory.errors import unknown

STEPS = ("exact", "lazy", "linearised", "adam", "tangent", "network")
# What is the same however a network is trained.
_UNTRAINED = ("exact", "resummed", "first_order", "lazy", "linearised", "adam")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WhyNotTheKernel(routes.Routes):
    """Settings of the experiment: those of the network as it is usually trained."""

    p: tuple[float, ...] = setting((0.5, 0.9), "corruption levels in [0, 1]")
    routes: tuple[str, ...] = setting(
        (*STEPS, "final"), f"any of {', '.join(routes.ROUTES)}"
    )
    kinds: tuple[str, ...] | None = setting(
        None, "which networks, by the names in the table; none is all"
    )
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


def chosen(config: WhyNotTheKernel) -> dict[str, WhyNotTheKernel]:
    """Returns the networks that are asked for, each with the rates of its kernel.

    Raises:
        InputError: for a kind that there is not.
    """
    every = variants(config)
    names = tuple(every) if config.kinds is None else config.kinds
    for name in names:
        if name not in every:
            raise unknown("--kinds", name, every)
    found = {}
    for name in names:
        each = every[name]
        steps = [s for s in config.routes if s != "adam" or routes.under_adam(each)]
        found[name] = dataclasses.replace(
            each, rates=each.parametrisation, routes=tuple(steps)
        )
    return found


def check(config: WhyNotTheKernel) -> None:
    """Raises `InputError` on bad settings."""
    for each in chosen(config).values():
        routes.check(each)


def cell(config: WhyNotTheKernel, name: str, route: str, p: float, subset: int) -> Cell:
    """One step for one kind of network, whose settings are `config`.

    Steps that do not depend on training have no name: kinds share them.
    """
    settings = routes.cell(config, route, p, subset).settings
    return Cell(settings if route in _UNTRAINED else {**settings, "kind": name})


def cells(config: WhyNotTheKernel) -> list[Cell]:
    """One cell per step, kind of network, level and training subset."""
    found: dict[str, Cell] = {}
    for subset in range(config.subsets):
        for p in config.p:
            for name, each in chosen(config).items():
                for route in each.routes:
                    new = cell(each, name, route, p, subset)
                    found.setdefault(new.key, new)
    return list(found.values())


compute = routes.compute
