"""Kinds of corruption by name: their laws of noise, levels and strengths."""

import dataclasses
import re

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
CORRUPTIONS = ("replacement", "additive", "clipped_additive", "binary_replacement")

# The pixels and the noise that each corruption is made for.
MADE_FOR = {
    "replacement": ("standardise", "uniform(-1.7320508,1.7320508)"),
    "additive": ("standardise", "normal"),
    "clipped_additive": ("unit", "normal"),
    "binary_replacement": ("binary", "normal"),
}


def strength(kind: str, p: float) -> float | None:
    """Returns the strength of a corruption that stands for the level p, if any does.

    Clipped noise has a width instead: p/(1 - p), none at p = 0 and 1.
    """
    if kind != "clipped_additive":
        return p
    return p / (1 - p) if 0 < p < 1 else None


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
