"""How well curves of several sizes fall onto one, as a number."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ntk_corrupt.curves.crossings import sorted_curve
from theory.errors import InputError
from theory.numerics.signatures import checked


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollapseQuality:
    """How well curves of several sizes fall on one.

    Attributes:
        ratio: within over total: 0 for one curve, 1 where the proxy tells nothing; NaN
            without any spread.
        within: root mean square over the grid of the spread across sizes.
        total: standard deviation of the same accuracies about one mean.
        overlap: ends of the range of the proxy that all sizes cover.
    """

    ratio: float
    within: float
    total: float
    overlap: tuple[float, float]


@checked
def collapse_quality(
    proxy: Sequence[ArrayLike], accuracy: Sequence[ArrayLike]
) -> CollapseQuality:
    """How well a proxy of the corruption puts the curves of several sizes on one.

    The grid is every measured value of the proxy inside the range that all sizes cover,
    curves linear in between; so stretching the proxy hardly changes the score, and
    proxies of different units compare.

    Args:
        proxy: for each size, its value at each measured strength (n_s,).
        accuracy: for each size (n_s,).

    Raises:
        InputError: if there are fewer than two sizes or they do not overlap.
    """
    if len(proxy) != len(accuracy) or len(proxy) < 2:
        raise InputError(
            "`proxy` and `accuracy` must hold one curve for each of two sizes or more, "
            f"got {len(proxy)} and {len(accuracy)}."
        )
    curves = [
        sorted_curve(x, y, names=("proxy", "accuracy"), least=2)[:2]
        for x, y in zip(proxy, accuracy, strict=True)
    ]
    low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    if low >= high:
        raise InputError(
            f"`proxy` must have values that all sizes cover: the largest first one is "
            f"{low:g}, the smallest last one {high:g}."
        )
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    grid = grid[(grid >= low) & (grid <= high)]
    on_grid = np.stack([np.interp(grid, x, y) for x, y in curves])
    within, total = float(np.sqrt(on_grid.var(axis=0).mean())), float(on_grid.std())
    return CollapseQuality(
        ratio=within / total if total > 0 else float("nan"),
        within=within,
        total=total,
        overlap=(float(low), float(high)),
    )
