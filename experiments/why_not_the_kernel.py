"""Why is my network not its kernel?

A network as it is usually trained beside its infinite-width kernel, on the same
corrupted images: then with one cause of the difference switched off after the other,
and all of them. What is left of the difference in accuracy, of the outputs (slope and
R2 against the kernel's), and of the offset b that all classes share, which trained
biases move and no decision sees. Single networks, and means over initialisations.

    python -m experiments.why_not_the_kernel --workdir=results/why_not_the_kernel
"""

import dataclasses

from experiments import _routes, _runner, _why_report
from experiments._runner import setting
from ntk_corrupt.results import Cell
from theory.errors import InputError

# Kernels by what is trained: the training rates of the networks that have it.
_KERNELS = {"no biases": {"rates": "ntk"}, "trained biases": {"rates": "standard"}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WhyNotTheKernel(_routes.Routes):
    """Settings of the experiment: those of the network as it is usually trained."""

    p: tuple[float, ...] = setting((0.5, 0.9), "corruption levels in [0, 1]")
    n_train: int = setting(300, "training images, balanced over classes")
    size: int | None = setting(14, "side in pixels to resize the images to; or none")
    width: int = setting(128, "units of each hidden layer")
    times: int = setting(4, "how much wider the wide networks are")
    descent_rate: float = setting(
        4.0, "step of gradient descent in NTK parametrisation; over width in the other"
    )
    descent_epochs: int = setting(1000, "most steps of gradient descent, heavy ball")
    end_loss: float = setting(1e-5, "training loss of networks trained to the end")
    draws: int = setting(4, "corruption draws per subset")
    inits: int = setting(4, "networks per draw")


PRESETS = {
    "smoke": {
        **_routes.SMOKE,
        "p": (0.5,),
        "depth": 2,
        "width": 16,
        "times": 2,
        "descent_epochs": 20,
    },
    "cpu": {},
    # the setting of arXiv 2606.11319, whose networks are of the first kind
    "paper": {
        **_routes.SOURCE,
        "p": (0.5, 0.9, 0.97),
        "width": 512,
        "epochs": 400,
        "stop_loss": 1e-3,
    },
}


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
    for name in ("times", "descent_rate", "descent_epochs", "end_loss"):
        if not getattr(config, name) > 0:
            raise InputError(
                f"`--{name}` must be positive, got {getattr(config, name)}."
            )
    for each in (*variants(config).values(), *_kernels(config).values()):
        _routes.check(each)


def cells(config: WhyNotTheKernel) -> list[Cell]:
    """One cell per network or kernel, level and training subset."""
    found = []
    for subset in range(config.subsets):
        for p in config.p:
            for route in config.routes:
                kinds = variants(config) if route == "network" else _kernels(config)
                found += [
                    Cell(
                        {**_routes.cell(each, route, p, subset).settings, "kind": name}
                    )
                    for name, each in kinds.items()
                ]
    return found


compute = _routes.compute


EXPERIMENT = _runner.Experiment(
    name="why_not_the_kernel",
    config=WhyNotTheKernel,
    presets=PRESETS,
    check=check,
    cells=cells,
    compute=compute,
    table=_why_report.table,
    figure=_why_report.figure,
    estimate=_routes.estimate,
)


if __name__ == "__main__":
    _runner.main(EXPERIMENT)
