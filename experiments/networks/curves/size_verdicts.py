"""How curves move with size: the margin's crossover beside p*, and what is expected."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experiments.harness.run_directory import Row
from experiments.shared import intervals
from experiments.shared.verdicts import Expected
from ntk_corrupt.curves import crossings

# Names of what `statistics` has, by what is asked of it
Statistics = Callable[[np.ndarray], Mapping[str, Callable[[np.ndarray], float]]]
_SOURCE = {"width": "sketch: sharper", "n_train": "none; ours"}


def crossover(p: np.ndarray) -> Callable[[np.ndarray], float]:
    """Returns where a median margin falls to one deviation, of curves at levels p.

    Zero stands for no margin, as without corruption: see `_margins`.
    """

    def of(z: np.ndarray) -> float:
        known = z != 0
        return crossings.crossover(p[known], z[known]) if known.any() else np.nan

    return of


def _margins(group: Sequence[Row]) -> np.ndarray:
    """Median margins (R, levels); 0 at levels where a repeat has none."""
    z = intervals.repeats(group, "z")
    return np.where(np.isfinite(z).all(axis=0), z, 0.0)


def lines(sizes: Mapping[int, Sequence[Row]], midpoint: Statistics) -> list[str]:
    """Returns the crossover beside p* on images as corrupted as those of training.

    The margin is of corrupted test images, and so is the p* that it is to predict.

    Args:
        sizes: rows by size, by rising level.
        midpoint: (levels) -> p* of a curve, among others, as "p*".
    """
    sweep = next(iter(sizes.values()))[0]["sweep"]
    found = [
        "",
        f"{sweep:>11}  level where the median margin is one deviation; p*, same test "
        "images [95 %]; difference",
    ]
    for size, group in sizes.items():
        p = intervals.levels(group)
        z, same = _margins(group), intervals.repeats(group, "same")
        of = (crossover(p), midpoint(p)["p*"])
        both = np.stack([z, same], axis=1)
        gap = intervals.interval(lambda two, of=of: of[0](two[0]) - of[1](two[1]), both)
        parts = [
            *(intervals.interval(f, s) for f, s in zip(of, (z, same), strict=True)),
            gap,
        ]
        said = "  ".join(intervals.interval_text(part) for part in parts)
        found.append(f"{size:>11}  {said}")
    return found


def _per_repeat(group: Sequence[Row], name: str, statistic) -> np.ndarray:
    curves = _margins(group) if name == "z" else intervals.repeats(group, name)
    return np.array([statistic(curve) for curve in curves])


def expected(
    sizes: Mapping[int, Sequence[Row]], statistics: Statistics
) -> list[Expected]:
    """Returns what the sketch says of size, per repeat; where fits failed, none.

    More images and wider networks fall later and more steeply (p* and slope rise), and
    p* moves to the side that the margin's crossover says. Of depth it says nothing.
    """
    if len(sizes) < 2:
        return []
    first, last = (list(sizes.values())[i] for i in (0, -1))
    p, sweep = intervals.levels(first), first[0]["sweep"]
    if list(p) != list(intervals.levels(last)):
        return []
    of, found = statistics(p), []
    pair = lambda name, statistic: [
        _per_repeat(group, name, statistic) for group in (first, last)
    ]
    if sweep in _SOURCE:
        for test in ("clean", "same"):
            slopes = pair(test, of["slope"])
            found.append(
                _of(
                    f"{sweep}, {test} test: slope, largest over smallest",
                    slopes[1] / slopes[0],
                    1.0,
                    _SOURCE[sweep],
                )
            )
    shifts = [np.subtract(*pair(*each)[::-1]) for each in (
        ("same", of["p*"]), ("z", crossover(p)),
    )]  # fmt: skip
    found.append(
        _of(
            f"{sweep}: p* shifts to the side of the crossover",
            shifts[0] * np.sign(shifts[1]),
            0.0,
            "none; ours",
        )
    )
    return [each for each in found if len(each.own)]


def _of(what: str, own: np.ndarray, least: float, source: str) -> Expected:
    known = own[np.isfinite(own)]
    return Expected(what=what, own=known, least=least, strictly=True, source=source)
