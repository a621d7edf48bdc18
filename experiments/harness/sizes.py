"""What is refused before anything is written: more than the memory holds, or a life.

Settings of one name mean the same in all scripts, so one table says which numbers a
cell holds at once. It holds these at least: what fits here may still be too much, and
what does not never runs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.harness.flags import Config, settable
from experiments.harness.run_directory import Cell
from theory.errors import InputError
from theory.numerics.memory import available_bytes

# Each a number of float32 numbers, as the product of these settings of a cell.
_HELD = (
    ("draws", "inits", "n_test"),
    ("surrogates", "n_test"),
    ("pixels", "n_train"),
    ("pixels", "n_test"),
    ("pixels", "width"),
    ("inner", "width", "width"),
    ("pixels", "components"),
    ("rbm_batch", "components"),
    ("window", "channels"),
    ("last", "dense"),
    ("ratio", "n_train", "pixels"),
    ("points", "points"),
    ("map_points", "map_points"),
    ("n", "n"),
    ("d", "n"),
    ("d", "n_test"),
    ("d", "width"),
    ("d", "flip_width"),
    ("d", "m"),
    ("d", "m_g"),
)
_LEAST_PIXELS, _LEAST_TESTS = 64, 100  # of every data set
_YEAR = 365.25 * 24 * 3600
_MOST_YEARS = 10.0


def check(
    config: Config, cells: Sequence[Cell], seconds: float | None, at_once: int = 1
) -> None:
    """Raises `InputError` where the cells cannot be computed here.

    Args:
        config: the settings asked for, of which the message names one.
        cells: all that they ask for.
        seconds: the estimate for those that are missing; None is unknown.
        at_once: how many cells this machine holds at once; 0 if others compute them.
    """
    needed, free = max(map(held_bytes, cells), default=0), available_bytes()
    if free is not None and at_once * needed > free:
        many = f", and {at_once} jobs as often," if at_once > 1 else ""
        raise InputError(
            f"{_too_large(config)}: one cell needs {_in_words(needed)} of memory or "
            f"more{many} and {_in_words(free)} are free."
        )
    if seconds is not None and not seconds < _MOST_YEARS * _YEAR:
        raise InputError(
            f"{_too_large(config)}: the cells need about {seconds / _YEAR:.2g} years "
            f"on two cores, and {_MOST_YEARS:g} are the most that is tried."
        )


def held_bytes(cell: Cell) -> int:
    """Returns how many bytes a cell holds at once, or fewer."""
    settings = cell.settings
    counts = {name: _count(value) for name, value in settings.items()}
    counts["pixels"] = counts.get("size", 0) ** 2 or _LEAST_PIXELS
    counts["window"], counts["last"] = 9, (settings.get("channels") or [0])[-1]
    counts["inner"] = max(counts.get("depth", 0) - 2, 0)
    if settings.get("n_test", 0) is None:
        counts["n_test"] = _LEAST_TESTS
    products = [math.prod(counts.get(name, 0) for name in product) for product in _HELD]
    if settings.get("route") == "exact":  # the kernel, in float64 as a rule
        products.append((1 + settings["x64"]) * counts.get("n_train", 0) ** 2)
    return 4 * max(products)


def _count(value: Any) -> int:
    """A setting as a count: of numbers the product, of anything else 0."""
    values = value if isinstance(value, list) else [value]
    if any(not isinstance(each, int) or isinstance(each, bool) for each in values):
        return 0
    return math.prod(values)


def _too_large(config: Config) -> str:
    """Returns what to ask for less of: the count that is furthest above its default."""
    found: Mapping[str, float] = {}
    for field in settable(config):
        value, usual = getattr(config, field.name), field.default
        counts = [_largest(each) for each in (value, usual)]
        if field.name != "seed" and counts[0]:
            found = {**found, field.name: counts[0] / (counts[1] or 1)}
    name = max(found, key=lambda each: found[each])
    return f"`--{name}` must be smaller than {_largest(getattr(config, name))}"


def _largest(value: Any) -> int:
    values = value if isinstance(value, tuple) else (value,)
    return max((v for v in values if type(v) is int), default=0)


def _in_words(size: float) -> str:
    """Returns a number of bytes in the unit that suits it."""
    units = ("GiB", "TiB", "PiB", "EiB")
    power = min(max(int(math.log(max(size, 1), 1024)) - 3, 0), len(units) - 1)
    return f"{size / 1024 ** (3 + power):.3g} {units[power]}"
