"""Settings that experiments on one network and one data set share, and what they mean.

A script's `Config` extends those of the mix-ins `Data`, `Corrupted`, `Network` and
`Training` whose flags mean something to it; `problem`, `corruption`, `architecture` and
`training` turn them into the objects of `theory` and `ntk_corrupt`. Of two
mix-ins that extend a third, the latter's defaults would win: extend one line of them.
"""

import dataclasses
import functools
import zlib
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

import theory
from experiments.harness import planning
from experiments.harness.flags import Config, setting
from experiments.harness.run_directory import Cell, Row
from experiments.shared.corruptions import KINDS, NOISES, kind
from ntk_corrupt.data import loading
from ntk_corrupt.data.normalise import NORMALISATIONS
from ntk_corrupt.data.stand_in import stand_in
from ntk_corrupt.networks import mlp
from ntk_corrupt.training.config import PRECISIONS, TrainConfig
from theory.errors import unknown

# What decides data and architecture: parts of the key of a cell.
DATA = (
    "seed",
    "dataset",
    "n_train",
    "n_test",
    "size",
    "normalise",
    "corruption",
    "noise",
)
ARCHITECTURE = ("activation", "depth", "w_var", "b_var")
TRAINING = (
    "width",
    "parametrisation",
    "biases",
    "loss",
    "optimiser",
    "learning_rate",
    "batch_size",
    "epochs",
    "stop_loss",
    "noise_regime",
)
RATES = ("ntk", "standard")
# Of networks that Adam trains: known with the images.
ADAM = "adam"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data(Config):
    """Images; the defaults are the bundled digits."""

    dataset: str = setting("digits", f"one of {', '.join(loading.NAMES)}")
    n_train: int = setting(1000, "training images, balanced over classes")
    n_test: int | None = setting(None, "test images, balanced; none is all")
    size: int | None = setting(
        None,
        "side in pixels to resize the images to, bilinearly; none keeps them",
        most=1024,
    )
    normalise: str = setting(
        "standardise", f"pixel scale, one of {', '.join(NORMALISATIONS)}"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corrupted(Data):
    """Images, and what corrupts them; its strength is the script's."""

    corruption: str = setting("replacement", f"one of {', '.join(KINDS)}")
    noise: str = setting(
        "uniform(-1.7320508,1.7320508)",
        f"law of a noise pixel: {', '.join(NOISES)}, with parameters in brackets",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network(Config):
    """What is trained, at a width or at all widths."""

    activation: str = setting("erf", "between layers, e.g. erf, relu, tanh, gelu")
    depth: int = setting(3, "weight layers; 3 is two hidden layers", most=1000)
    w_var: float = setting(1.0, "weight variance times fan-in")
    b_var: float = setting(0.0, "bias variance")
    width: int = setting(256, "units of each hidden layer")
    biases: bool = setting(
        True, "whether networks in standard parametrisation train biases, from 0"
    )
    rates: str = setting(
        "ntk",
        f"training rates of the kernels' layers, {' or '.join(RATES)}: of networks in "
        "the parametrisation of that name, with their width and biases; where routes "
        f"are asked for also {ADAM}: those at which it trains them",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training(Config):
    """How networks of finite width are trained."""

    parametrisation: str = setting("standard", "of the networks: standard or ntk")
    loss: str = setting("mse", "training loss: mse, cross_entropy, softmax_mse")
    optimiser: str = setting("adam", "adam, adadelta, sgd, momentum or gd (full batch)")
    learning_rate: float = setting(1e-3, "of the optimiser", above=0)
    batch_size: int = setting(250, "training images per step")
    epochs: int = setting(400, "most epochs to train", least=0)
    stop_loss: float | None = setting(
        1e-3, "training loss at which a network stops; none trains all epochs"
    )
    noise_regime: str = setting(
        "frozen", "frozen: one corrupted copy; fresh: another one in each epoch"
    )
    precision: str | None = setting(
        None,
        f"of the networks' matrix products: {', '.join(PRECISIONS)}; none leaves it "
        "to JAX",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernels(Network, Corrupted):
    """Settings of kernels on corrupted images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Training, Kernels):
    """Settings of networks that are trained on corrupted images."""


S = TypeVar("S", bound=Config)


def corruption(settings: Corrupted, p: float) -> theory.Corruption:
    """Returns the corruption at level `p` (its width sigma, if it is clipped)."""
    return kind(settings.corruption).make(p, settings.noise)


def architecture(
    settings: Kernels, seen: theory.Problem | None = None
) -> theory.Architecture:
    """Returns the architecture, with the training rates of its kernel.

    Args:
        settings: the settings.
        seen: what is trained on, for the rates at which Adam trains.
    """
    arch = theory.Architecture(
        depth=settings.depth,
        activation=settings.activation,
        w_var=settings.w_var,
        b_var=settings.b_var,
    )
    if settings.rates == "ntk":
        # as they are by default, but spelt out: one program for both kinds of rates
        w_rates, b_rates = (1.0,) * settings.depth, (settings.b_var,) * settings.depth
        return dataclasses.replace(arch, w_rates=w_rates, b_rates=b_rates)
    d = problem(settings, 0).x_train.shape[1]
    widths = (d, *[settings.width] * (settings.depth - 1))
    if settings.rates == ADAM:
        assert isinstance(settings, Settings)
        assert seen is not None
        return theory.adam_rates(
            arch,
            widths,
            seen.x_train,
            seen.y,
            batch_size=settings.batch_size,
            biases=settings.biases,
        )
    standard = theory.Architecture.standard(
        widths=widths, activation=settings.activation, w_var=settings.w_var
    )
    b_rates = standard.b_rates if settings.biases else (0.0,) * settings.depth
    return dataclasses.replace(arch, w_rates=standard.w_rates, b_rates=b_rates)


def of_kernel(settings: Kernels) -> tuple[str, ...]:
    """Returns the settings that decide a kernel and its data: parts of a cell's key."""
    rates = {"ntk": ("rates",), ADAM: ("rates", "width", "biases", "batch_size")}
    names = rates.get(settings.rates, ("rates", "width", "biases"))
    return (*DATA, *ARCHITECTURE, *names)


def settled(config: S, cell: Cell) -> S:
    """Returns the config with the settings of a cell in place of its own."""
    names = {field.name for field in dataclasses.fields(config)} - {"p"}
    own = {name: value for name, value in cell.settings.items() if name in names}
    return dataclasses.replace(config, **own)


def of_network(settings: Settings) -> tuple[str, ...]:
    """Returns the settings that decide networks and their data."""
    names = (*DATA, *ARCHITECTURE, *TRAINING)
    # not in the keys of runs from before there was the setting
    return names if settings.precision is None else (*names, "precision")


def network(settings: Settings, num_classes: int) -> mlp.MLP:
    """Returns the network that is trained."""
    # it has no rates of its own, whatever its kernel is taken at
    rates = "standard" if settings.rates == ADAM else settings.rates
    return mlp.mlp(
        architecture(dataclasses.replace(settings, rates=rates)),
        settings.width,
        num_classes,
        parametrisation=settings.parametrisation,
        biases=settings.biases,
    )


def training(settings: Training) -> TrainConfig:
    """Returns how the networks are trained."""
    return TrainConfig(
        loss=settings.loss,
        optimiser=settings.optimiser,
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        stop_loss=settings.stop_loss,
        noise_regime=settings.noise_regime,
        precision=settings.precision,
    )


@functools.lru_cache(maxsize=2)
def _load(dataset, n_train, n_test, size, normalise, seed, data_dir, _x64):
    return loading.load(
        dataset,
        n_train=n_train,
        n_test=n_test,
        size=size,
        normalise=normalise,
        seed=seed,
        data_dir=data_dir,
    )


_stand_in = functools.lru_cache(maxsize=8)(stand_in)


def problem(settings: Data, subset: int) -> theory.Problem:
    """Returns training subset number `subset`, each drawn anew from the whole set.

    The test images are the same in all. For a plan, something of the same shapes.
    """
    if planning.active():
        return _stand_in(
            settings.dataset,
            n_train=settings.n_train,
            n_test=settings.n_test,
            normalise=settings.normalise,
            size=settings.size,
        )
    seed = np.random.SeedSequence((settings.seed, subset)).generate_state(1)
    return _load(
        settings.dataset,
        settings.n_train,
        settings.n_test,
        settings.size,
        settings.normalise,
        int(seed[0]),
        settings.data_dir,
        jax.config.jax_enable_x64,  # ty: ignore[missing-attribute]
    )


def corruption_key(settings: Config, subset: int) -> jax.Array:
    """Returns the key that every route gets, so that all see the same corruption."""
    stream = np.uint32(zlib.crc32(b"corruption"))
    return jax.random.fold_in(
        jax.random.fold_in(jax.random.key(settings.seed), stream), subset
    )


def check_data(settings: Corrupted, levels: tuple[float, ...]) -> None:
    """Raises `InputError` on images, or corruptions of them, that make no sense."""
    for p in levels:
        corruption(settings, p).check()
    images = problem(settings, 0)
    if planning.active():  # all are alike
        corruption(settings, levels[0]).check_images(jnp.asarray(images.x_train[:1]))
        return
    images.check()
    corruption(settings, levels[0]).check_images(images.x_train)


def check(
    settings: Kernels, levels: tuple[float, ...], rates: tuple[str, ...] = RATES
) -> None:
    """Raises `InputError` on settings that make no sense, before anything is run."""
    if settings.rates not in rates:
        raise unknown("--rates", settings.rates, rates)
    if isinstance(settings, Settings):
        training(settings).check()
        network(settings, 2)
    check_data(settings, levels)
    if settings.rates != ADAM:
        architecture(settings)


def title(row: Row, corruption: str | None = None) -> str:
    """Returns two lines on what a cell was run on; `corruption` in these words."""
    size = f" at {row['size']} x {row['size']}" if row["size"] else ""
    if corruption is None:
        noise = kind(row["corruption"]).by(row["noise"])
        corruption = f"{row['corruption']}{noise}"
    layers = row.get("architecture") or f"depth {row['depth']}"
    return (
        f"{row['dataset']}{size} ({row['normalise']}), {row['n_train']} training "
        f"images\n{corruption}; {row['activation']}, {layers}"
    )
