"""Computes what the explorer of the site shows: `make explorer`, minutes.

The resummed law of digits at each level, number of images, activation and noise, and
the images themselves, of which the page makes corrupted ones. The result is committed:
the site is built without JAX.
"""

import base64
import itertools
import json
import pathlib

import numpy as np
from tqdm import tqdm

import theory
from ntk_corrupt import data

TABLES = pathlib.Path(__file__).with_name("explorer_tables.json")
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
N_TRAIN = (100, 300, 1000)
ACTIVATIONS = ("relu", "erf", "tanh")
NOISES = {"replacement": theory.Replacement, "additive": theory.Additive}
SIZE = 14
# Of the joint law that the spread is sampled from: the usual 300 and 4 000 would take
# ten seconds a cell. Good to a third of itself.
SAMPLED = {"points": 100, "samples": 1000}


def problem(n_train: int) -> theory.Problem:
    """Returns digits; those of a smaller number are the first of those of a larger."""
    return data.load("digits", n_train=n_train, size=SIZE)


def shown(digits: theory.Problem) -> list[int]:
    """Returns the first test image of each class."""
    labels = np.asarray(digits.labels_test)
    return [int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]


def key(activation: str, noise: str, n_train: int) -> str:
    """Returns the name of a curve in the tables."""
    return f"{activation} {noise} {n_train}"


def cell(digits: theory.Problem, activation: str, noise: str, p: float) -> dict:
    """Returns what the law says: of the mean over initialisations and of one network.

    Of each: accuracy, its standard deviation over draws, and for the shown images the
    probability of being told rightly. With it what the law doubts, [] where it is
    valid.
    """
    arch = theory.Architecture(depth=3, activation=activation)
    law = theory.resummed(arch, NOISES[noise](p=p), digits)
    labels, at = digits.labels_test, shown(digits)
    found = {"doubts": list(law.diagnostics["doubts"])}
    for name, each in (("mean", law), ("one", law.averaged(1))):
        spread = each.accuracy_std(labels, **SAMPLED)
        right = np.asarray(each.per_point(labels))[at]
        found[name] = {
            "accuracy": round(float(each.accuracy(labels)), 3),
            "std": round(spread, 3),
            "right": [round(float(probability), 2) for probability in right],
        }
    return found


def packed(images: np.ndarray, low: float, high: float) -> str:
    """Returns pixels in 16 shades, two in a byte, as text."""
    shades = np.rint((images - low) / (high - low) * 15).astype(np.uint8).reshape(-1, 2)
    return base64.b64encode(shades[:, 0] * 16 + shades[:, 1]).decode()


def tables() -> dict:
    """Computes all of it."""
    curves = {}
    settings = list(itertools.product(N_TRAIN, ACTIVATIONS, NOISES))
    with tqdm(total=len(settings) * len(LEVELS), unit="law") as progress:
        for n_train, activation, noise in settings:
            digits, curve = problem(n_train), []
            for p in LEVELS:
                curve.append(cell(digits, activation, noise, p))
                progress.update()
            curves[key(activation, noise, n_train)] = curve
    digits = problem(max(N_TRAIN))
    train, test = np.asarray(digits.x_train), np.asarray(digits.x_test)
    low, high = float(train.min()), float(train.max())
    test = test[shown(digits)].clip(low, high)
    return {
        "levels": LEVELS,
        "n_train": N_TRAIN,
        "size": SIZE,
        "curves": curves,
        "labels": "".join(map(str, np.asarray(digits.labels_train))),
        "low": round(low, 4),
        "high": round(high, 4),
        "train": packed(train, low, high),
        "test": packed(test, low, high),
    }


if __name__ == "__main__":
    TABLES.write_text(json.dumps(tables(), separators=(",", ":")) + "\n")
    print(f"{TABLES}: {TABLES.stat().st_size / 1000:.0f} kB")
