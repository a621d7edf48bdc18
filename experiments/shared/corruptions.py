"""Kinds of corruption by name: all that scripts need to know of each, in one record."""

import dataclasses
import re
from collections.abc import Callable

import theory
from theory.errors import InputError, unknown

NOISES = {
    "uniform": theory.Uniform,
    "normal": theory.Normal,
    "laplace": theory.Laplace,
    "bernoulli": theory.Bernoulli,
    "rademacher": theory.Rademacher,
    "normal_mixture": theory.NormalMixture,
}


def parse_noise(text: str) -> theory.Noise:
    """Reads "uniform(-1,1)" or "normal" as a law of noise."""
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*", text)
    name = match[1] if match else text
    if name not in NOISES:
        raise unknown("--noise", name, NOISES)
    law, given = NOISES[name], (match[2] or "") if match else ""
    try:
        values = [float(value) for value in given.split(",")] if given.strip() else []
        noise = law(*values)
    except (TypeError, ValueError):
        fields = ", ".join(field.name for field in dataclasses.fields(law))
        raise InputError(
            f"`--noise` must be {name} or {name}({fields}) in numbers, got {text!r}."
        ) from None
    noise.check()
    return noise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of corruption, as flags name it.

    Attributes:
        make: (strength, law of the noise in words) -> the corruption.
        pixels: the normalisation of pixels that it is made for.
        noise: the law of noise that it is made for.
        noise_is_set: whether that law is a setting, or its own.
        of_width: whether its strength is a width sigma >= 0 rather than a level p.
    """

    make: Callable[[float, str], theory.Corruption]
    pixels: str
    noise: str = "normal"
    noise_is_set: bool = True
    of_width: bool = False

    def strength(self, p: float) -> float | None:
        """Returns the strength that stands for the level p, None if none does.

        A width p/(1 - p) does, but for p = 0 and 1.
        """
        if not self.of_width:
            return p
        return p / (1 - p) if 0 < p < 1 else None

    def level(self, strength: float) -> float:
        """Returns the level that a strength stands for."""
        return strength / (1 + strength) if self.of_width else strength

    @property
    def axis(self) -> str:
        """What a strength is called beside an axis."""
        return "width sigma" if self.of_width else "level p"

    @property
    def ends(self) -> tuple[float, ...]:
        """Strengths at which all of the image is left, or none."""
        return (0.0,) if self.of_width else (0.0, 1.0)

    def by(self, noise: str) -> str:
        """Returns " by NOISE" for a title, where the law of the noise is a setting."""
        return f" by {noise}" if self.noise_is_set else ""


KINDS = {
    "replacement": Kind(
        make=lambda p, noise: theory.Replacement(p=p, noise=parse_noise(noise)),
        pixels="standardise",
        noise="uniform(-1.7320508,1.7320508)",
    ),
    "additive": Kind(
        make=lambda p, noise: theory.Additive(p=p, noise=parse_noise(noise)),
        pixels="standardise",
    ),
    "clipped_additive": Kind(
        make=lambda sigma, _: theory.ClippedAdditive(sigma=sigma),
        pixels="unit",
        noise_is_set=False,
        of_width=True,
    ),
    "binary_replacement": Kind(
        make=lambda p, _: theory.BinaryReplacement(p),
        pixels="binary",
        noise_is_set=False,
    ),
}


def kind(name: str, flag: str = "--corruption") -> Kind:
    """Returns the kind of this name.

    Raises:
        InputError: if there is none.
    """
    if name not in KINDS:
        raise unknown(flag, name, KINDS)
    return KINDS[name]


def made_for(name: str) -> dict[str, str]:
    """Returns the settings that a kind of corruption is made for, and its name."""
    found = kind(name)
    return {"corruption": name, "normalise": found.pixels, "noise": found.noise}
