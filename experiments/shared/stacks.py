"""Architectures beyond the perceptron, by name: their kernels and networks."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import theory
from experiments.harness.flags import setting
from ntk_corrupt.networks import stacked
from theory import architectures
from theory.architectures import Stack, positions
from theory.errors import InputError, NumericalError
from theory.numerics import blocks, memory, solve
from theory.numerics.edges import matmul
from theory.routes.exact import draw_loop

MLP = "mlp"  # that of --depth
# Name -> the builder and its arguments; depths count weight layers.
ARCHITECTURES: dict[str, tuple[Callable[..., Stack], dict]] = {
    "dense": (architectures.dense, {"depth": 3}),
    "conv": (architectures.convolutional, {"depth": 2}),
    "conv2": (architectures.convolutional, {"depth": 3}),
    "residual": (architectures.convolutional, {"depth": 4, "residual": True}),
    "unshared": (
        architectures.convolutional,
        {"depth": 2, "pooling": "local", "shared": False},
    ),
    "local": (architectures.convolutional, {"depth": 2, "pooling": "local"}),
    "global": (architectures.convolutional, {"depth": 2, "pooling": "global"}),
}
_HELD = 50  # arrays of a pair's numbers that a derivative of its kernel takes
_IMAGES = 16  # whose kernel with themselves is computed at once
WIDTH = "units of each hidden layer, and channels of each convolution"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    """A setting of one architecture: a mix-in, before the settings of a script."""

    architecture: str = setting(
        MLP,
        f"{MLP}, of --depth weight layers; or with layers of its own "
        f"{', '.join(ARCHITECTURES)}",
    )
    width: int = setting(256, WIDTH)


def image_shape(pixels: int, dataset: str) -> tuple[int, int, int]:
    """Returns height, width and channels of square images, channels last."""
    for channels in (1, 3):
        side = math.isqrt(pixels // channels)
        if side**2 * channels == pixels:
            return side, side, channels
    raise InputError(
        f"`--dataset` must hold square images, got {dataset} of {pixels} numbers."
    )


def stack(config: Any, name: str, pixels: int) -> Stack:
    """Returns the architecture of a name, for images of so many numbers.

    `config` has `dataset`, `activation`, `w_var` and `b_var`.

    Raises:
        InputError: layers that do not fit the images.
    """
    build, arguments = ARCHITECTURES[name]
    try:
        return build(
            shape=image_shape(pixels, config.dataset),
            activation=config.activation,
            w_var=config.w_var,
            b_var=config.b_var,
            **arguments,
        )
    except InputError as error:
        raise InputError(f"architecture {name}: {error}") from None


def check(config: Any, name: str, problem: theory.Problem, *, kernel: bool) -> None:
    """Raises `InputError` on an architecture that does not fit, or no network."""
    of = stack(config, name, problem.x_train.shape[1])
    network(config, of, problem.num_classes)
    n = len(problem.x_train)
    memory.check_memory(
        8 * max(_HELD * positions.numbers_of_a_pair(of), 3 * n**2 * kernel),
        f"architecture {name} on {n} images of {of.pixels} pixels",
        "take a smaller --size or --n_train, or another",
    )


def network(config: Any, of: Stack, num_classes: int) -> stacked.Stacked:
    """Returns the network of an architecture that is trained, `config.width` wide."""
    return stacked.network(
        of, config.width, num_classes, parametrisation=config.parametrisation
    )


def pair_seconds(of: Stack) -> float:
    """Returns a rough number of seconds on two cores for the kernels of two images."""
    return positions.numbers_of_a_pair(of) * len(of.layers) * 4e-9


def multiply_adds(config: Any, of: Stack) -> float:
    """Returns those of the outputs of one image, of a network of ten classes."""
    return _multiply_adds(network(config, of, 10))  # ty: ignore[invalid-argument-type]


@functools.lru_cache(maxsize=2 * len(ARCHITECTURES))
def _multiply_adds(model: stacked.Stacked) -> float:
    image = jax.ShapeDtypeStruct((1, math.prod(model.shape)), np.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), image)
    cost: Any = jax.jit(model.apply).lower(params, image).cost_analysis()
    return cost["flops"] / 2


def outputs(
    of: Stack, seen: theory.Problem, prior: Float[Array, " n_test"] | None = None
) -> tuple[Array, Array | None, float]:
    """What infinitely wide networks, trained to the end on `seen`, answer.

    Args:
        of: the architecture.
        seen: what they are trained on, and asked.
        prior: variance of the outputs before training, for that after it.

    Returns:
        Outputs (n_test, c) of the average over initialisations; the variance (n_test,)
        that one initialisation adds, None without `prior`; the margin of the solve.

    Raises:
        NumericalError: an indefinite or singular kernel, as of `theory.exact`, or
            outputs that are not finite.
    """
    x = seen.x_train
    pair = architectures.gram(x, of)
    smoother = solve.inverse(pair.ntk, 0.0)
    margin = float(smoother.margin)
    solve.check(margin, x, flow=False, ridge=0.0)
    test = architectures.nngp_ntk(seen.x_test, x, of)
    found, init_var = matmul(test.ntk, smoother.apply(seen.y)), None
    if not np.isfinite(found).all():
        raise NumericalError("outputs came out as NaN or infinity: take --x64.")
    if prior is not None:  # docs/theory/training.md (11)
        smoothed = smoother.apply(test.ntk.T)
        learned = matmul(pair.nngp, smoothed) - 2 * test.nngp.T
        init_var = prior + (smoothed * learned).sum(axis=0)
    return found, init_var, margin


@jax.jit
def _priors(x: Float[Array, "n d"], of: Stack) -> Float[Array, " n"]:
    """NNGP of every image with itself."""
    own = lambda part: positions.own(part, of).nngp
    return blocks.map_rows(own, x, _IMAGES)


def exact(
    of: Stack,
    corruption: theory.Corruption,
    problem: theory.Problem,
    *,
    draws: int,
    key: Array,
    progress: draw_loop.Progress | None = None,
) -> theory.Draws:
    """The exact infinite width of an architecture, as `theory.exact` of a perceptron.

    Cost per draw: kernels of n^2/2 + n n_test pairs of images (`nngp_ntk`), the solve,
    n^3/3, and 2 n^2 n_test for `init_var`.

    Returns:
        Draws with outputs (draws, 1, n_test, c) and init_var (draws, n_test), on the
        corrupted images that every route is given with this key.

    Raises:
        NumericalError: as `outputs`.
    """
    loop = draw_loop.CorruptionDraws(
        corruption=corruption,
        problem=problem,
        key=key,
        draws=draws,
        first_draw=0,
        copies=1,
        test_corruption=None,
    )
    prior = _priors(problem.x_test, of)

    def one(draw: int):
        found, init_var, margin = outputs(of, loop.seen(draw), prior)
        return found[None], init_var, jnp.asarray(margin)

    (found, init_var, margin), draw_keys = loop.each(one, progress)
    return theory.Draws(
        outputs=found,
        init_var=init_var,
        draw_keys=draw_keys,
        diagnostics={"margin": margin},
        averaged=True,
    )
