"""The ways to the outputs of networks: laws, kernels, networks solved or trained."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

import theory
from experiments.shared import online, settings, stacks
from ntk_corrupt.ensembles import ensemble, linearised
from ntk_corrupt.networks import mlp, stacked
from ntk_corrupt.networks.tangent import Tangent, Trainable
from theory.architectures import Stack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What a route is asked for: one corruption of one training subset.

    `arch` is a `theory.Architecture`, or a `Stack` of the routes that take one.
    """

    arch: Any
    corruption: theory.Corruption
    problem: theory.Problem
    key: jax.Array
    progress: Callable[..., None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Route:
    """One way to the outputs; a new one is one entry of `ROUTES`.

    Attributes:
        settings: config -> names of the settings that decide its numbers.
        outputs: (config, what is asked) -> the law, or the draws.
        seconds: (config, training images, test images) -> rough cost on two cores.
        label: in legends.
        line: style of its curves in figures; none for points.
        takes: corruption -> why it cannot take it; None if it can.
        stacks: whether it takes the architectures of `stacks`.
    """

    settings: Callable[[Any], tuple[str, ...]]
    outputs: Callable[[Any, Asked], theory.OutputLaw | theory.Draws]
    seconds: Callable[[Any, int, int], float]
    label: str
    line: str | tuple
    takes: Callable[[theory.Corruption], str | None] = lambda _: None
    stacks: bool = False


def _exact(config: Any, asked: Asked, width: int | None = None) -> theory.Draws:
    if isinstance(asked.arch, Stack):
        return stacks.exact(
            asked.arch,
            asked.corruption,
            asked.problem,
            draws=config.draws,
            key=asked.key,
            progress=asked.progress,
        )
    return theory.exact(
        asked.arch,
        asked.corruption,
        asked.problem,
        draws=config.draws,
        key=asked.key,
        width=width,
        progress=asked.progress,
    )


def _model(config: Any, asked: Asked) -> mlp.MLP | stacked.Stacked:
    if isinstance(asked.arch, Stack):
        return stacks.network(config, asked.arch, asked.problem.num_classes)
    return settings.network(config, asked.problem.num_classes)


def _trained(config: Any, asked: Asked, model: Trainable) -> theory.Draws:
    return ensemble.measure(
        model,
        asked.corruption,
        asked.problem,
        draws=config.draws,
        inits=config.inits,
        key=asked.key,
        config=settings.training(config),
        progress=asked.progress,
    )


def _solved(config: Any, asked: Asked, **how: Any) -> theory.Draws:
    return linearised.measure_linearised(
        _model(config, asked),
        asked.corruption,
        asked.problem,
        draws=config.draws,
        inits=config.inits,
        key=asked.key,
        progress=asked.progress,
        **how,
    )


def _exact_seconds(config: Any, n: int, m: int) -> float:
    solve = (n**3 / 3 + 2 * n**2 * m) * 2e-11
    if config.architecture != stacks.MLP:
        solve += stacks.pair_seconds(_stack(config)) * (n**2 / 2 + n * m)
    return 2 + config.draws * solve


def _stack(config: Any) -> Stack:
    pixels = settings.problem(config, 0).x_train.shape[1]
    return stacks.stack(config, config.architecture, pixels)


def _regression_seconds(config: Any, n: int, m: int) -> float:
    outputs = 10 * n
    each = outputs**3 / 3 * 4e-11 + outputs**2 * config.width * config.depth * 4e-11
    return 5 + config.draws * config.inits * each


def _of_tangent(config: Any) -> tuple[str, ...]:
    """What decides networks that are not trained, but solved."""
    names = ("width", "parametrisation", "biases", "inits", "draws")
    return (*settings.DATA, *settings.ARCHITECTURE, *names)


def _with_width(names: tuple[str, ...]) -> tuple[str, ...]:
    return names if "width" in names else (*names, "width")


def _members(config: Any) -> tuple[str, ...]:
    return (*settings.of_network(config), "inits", "draws")


def _training_seconds(config: Any, n: int, m: int) -> float:
    weights = 784 * config.width + (config.depth - 2) * config.width**2
    if config.architecture != stacks.MLP:
        weights = stacks.multiply_adds(config, _stack(config))
    steps = config.draws * config.inits * config.epochs * n
    return 5 + steps * 6 * weights * 1e-11


ROUTES = {
    "first_order": Route(
        settings=settings.of_kernel,
        outputs=lambda _, at: theory.first_order(at.arch, at.corruption, at.problem),
        seconds=lambda config, n, m: 1.0,
        label="first order: class-mean law",
        line="--",
        takes=lambda corruption: (
            None
            if corruption.ends_in_noise
            else "expands about pure noise, which this corruption never is"
        ),
    ),
    "resummed": Route(
        settings=settings.of_kernel,
        outputs=lambda _, at: theory.resummed(at.arch, at.corruption, at.problem),
        seconds=lambda config, n, m: 10 + n * (m + 6000) * 1200 * 1e-10,
        label="resummed law",
        line="-",
    ),
    "resummed_lazy": Route(
        settings=lambda config: _with_width(settings.of_kernel(config)),
        outputs=lambda config, at: theory.resummed(
            at.arch, at.corruption, at.problem, width=config.width
        ),
        seconds=lambda config, n, m: 30 + config.depth * n * (m + 20000) * 1200 * 1e-10,
        label="resummed law, of this width",
        line=(0, (5, 1)),
    ),
    "online": Route(
        settings=lambda _: (*settings.DATA, *settings.ARCHITECTURE, *online.SETTINGS),
        outputs=lambda config, at: online.outputs(
            config, at.corruption, at.problem, at.key
        ),
        seconds=lambda config, n, m: 15 + (n + m) * 1200**2 * 150e-11 / 10,
        label="law of fresh noise",
        line=(0, (7, 1, 1, 1)),
    ),
    "exact": Route(
        settings=lambda config: (*settings.of_kernel(config), "draws"),
        outputs=_exact,
        seconds=_exact_seconds,
        label="exact kernel",
        line=":",
        stacks=True,
    ),
    "lazy": Route(
        settings=lambda config: (*_with_width(settings.of_kernel(config)), "draws"),
        outputs=lambda config, at: _exact(config, at, config.width),
        seconds=lambda config, n, m: (
            5 + config.draws * (8 * config.depth * n**3 + 9 * n**2 * m) * 3e-11
        ),
        label="exact kernel, of this width",
        line="-.",
    ),
    "linearised": Route(
        settings=_of_tangent,
        outputs=_solved,
        seconds=_regression_seconds,
        label="own kernel at the start",
        line="",
        stacks=True,
    ),
    "adam": Route(
        settings=lambda config: (*_of_tangent(config), "batch_size"),
        outputs=lambda config, at: _solved(config, at, adam_batch=config.batch_size),
        seconds=_regression_seconds,
        label="the same, at Adam's rates",
        line="",
    ),
    "tangent": Route(
        settings=_members,
        outputs=lambda config, at: _trained(config, at, Tangent(_model(config, at))),
        seconds=lambda config, n, m: 2 * _training_seconds(config, n, m),
        label="linearised and trained",
        line="",
        stacks=True,
    ),
    "final": Route(
        settings=_members,
        outputs=lambda config, at: _solved(
            config, at, trained=settings.training(config)
        ),
        seconds=lambda config, n, m: (
            _training_seconds(config, n, m) + _regression_seconds(config, n, m)
        ),
        label="own kernel after training",
        line="",
        stacks=True,
    ),
    "network": Route(
        settings=_members,
        outputs=lambda config, at: _trained(config, at, _model(config, at)),
        seconds=_training_seconds,
        label="trained",
        line="",
        stacks=True,
    ),
}
