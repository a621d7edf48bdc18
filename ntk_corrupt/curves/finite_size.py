"""Finite-size scaling of accuracy curves: whether those of all sizes are one.

Near a critical level p_c curves of sizes N are expected to obey

    A(p) = A_c + N^-kappa F((p - p_c) N^(1/nu)),

so that y = N^kappa (A - A(p_c)) is one function of x = (p - p_c) N^(1/nu). The search
brings the curves y(x) closest together. Their mean squared distance alone is least
where kappa shrinks them all to zero, whatever the data; divided by the variance of what
is compared, it is the share of variance that one curve leaves.

Where F is a line, all kappa - 1/nu of the right value fit: only its bends tell. With
four F, nu 2.5, kappa .1 and five sizes from 500 to 60 000, falls of .2 to .5, p_c was
found within .003 and kappa within .05 in all of 20 draws of a noise of .002 in the mean
accuracies, in 9 to 20 of .005, in 0 to 20 of .01. It fails first where the lower
plateau is not seen, and mostly ends at nu near .5 with kappa above one, not always at
an edge: .6 to .9 of the resamples of `bootstrap_collapse` were, in four such cases.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ntk_corrupt.curves import collapse_scores
from ntk_corrupt.curves.bootstrap import (
    Interval,
    evaluated,
    percentiles,
    resampled_means,
)
from ntk_corrupt.curves.crossings import check_levels
from theory.errors import InputError
from theory.numerics import doors
from theory.numerics.signatures import checked

Range = tuple[float, float]

_LEVELS = 2  # of finer grids
_MOVES = 60  # of a finer grid along a valley: enough from end to end of the range


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collapse:
    """The parameters that bring curves of several sizes closest together.

    Attributes:
        p_c, nu: of the ansatz; NaN where sizes have too little in common in all the
            ranges, which makes the score infinite.
        kappa: of the ansatz; None where it was not searched, y = A.
        score: mean squared deviation of the scaled curves from their mean, normalised
            by the variance of the same values (0 ... 1) or not.
        at_edge: parameters within half a grid step of an end of their range: bounds,
            not estimates.
        profiles: by parameter, its values over the whole range and the least score at
            each, over all values of the others (2, grid).
    """

    p_c: float
    nu: float
    kappa: float | None
    score: float
    at_edge: tuple[str, ...]
    profiles: Mapping[str, np.ndarray]

    def scaled(
        self, p: ArrayLike, accuracy: ArrayLike, sizes: ArrayLike
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns x = (p - p_c) N^(1/nu) and y, both (S, P), to be drawn."""
        p, accuracy, sizes = _measured(p, accuracy, sizes)
        x = (p - self.p_c) * sizes[:, None] ** (1 / self.nu)
        if self.kappa is None:
            return x, accuracy
        at_p_c = np.array([np.interp(self.p_c, p, curve) for curve in accuracy])
        return x, sizes[:, None] ** self.kappa * (accuracy - at_p_c[:, None])


def _measured(
    p: ArrayLike, accuracy: ArrayLike, sizes: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        doors.host("p", p),
        doors.host("accuracy", accuracy),
        doors.host("sizes", sizes),
    )


@checked
def collapse(
    p: ArrayLike,
    accuracy: ArrayLike,
    sizes: ArrayLike,
    *,
    p_c: Range,
    nu: Range,
    kappa: Range | None = None,
    normalised: bool = True,
    window: Range = (0.12, 0.78),
    grid: int = 41,
) -> Collapse:
    """Searches the parameters of the ansatz that make curves of all sizes one.

    A grid over the ranges (geometric in nu), then two finer ones, each two steps to
    either side of the best and moved until the best is inside. The score is over the
    scaled x of all measured points that two sizes or more cover, curves linear in
    between. 0.3 s for five sizes of 30 levels on one core, after 3 s of compilation.
    Wants float64.

    Args:
        p: increasing levels (P,), common to all sizes.
        accuracy: mean curves (S, P).
        sizes: positive (S,), two or more.
        p_c: range searched; inside p where kappa is searched.
        nu: range searched, positive.
        kappa: range searched; None compares A itself, with no A_c.
        normalised: whether the score is divided by the variance; see the module.
        window: accuracies compared where kappa is None; all are where it is not.
        grid: values of each parameter in each grid.

    Raises:
        InputError: if shapes or ranges do not fit or a number is not finite.
    """
    p, accuracy, sizes = _measured(p, accuracy, sizes)
    ranges = {"p_c": p_c, "nu": nu} | ({} if kappa is None else {"kappa": kappa})
    _check(p, accuracy, sizes, ranges, window, grid)
    three = kappa is not None
    compared = (-np.inf, np.inf) if three else window
    data = [jnp.asarray(a, float) for a in (p, accuracy, sizes, compared)]
    # nu is searched by its logarithm
    whole = np.array([np.log(r) if k == "nu" else r for k, r in ranges.items()])
    step = (whole[:, 1] - whole[:, 0]) / (grid - 1)

    def evaluate(low, high):
        axes = np.linspace(low, high, grid, axis=1)
        nodes = [*axes] if three else [*axes, np.zeros(1)]
        nodes[1] = np.exp(nodes[1])
        nodes = [jnp.asarray(node, float) for node in nodes]
        scores = collapse_scores.scores(
            *data, *nodes, centred=three, normalised=normalised
        )
        scores = np.asarray(scores if three else scores[..., 0])
        at = np.unravel_index(scores.argmin(), scores.shape)
        return nodes, scores, np.array([a[k] for a, k in zip(axes, at, strict=True)])

    nodes, coarse, best = evaluate(*whole.T)
    scores, fine, levels = coarse, step, _LEVELS
    for _ in range(_MOVES):
        low = np.maximum(best - 2 * fine, whole[:, 0])
        high = np.minimum(best + 2 * fine, whole[:, 1])
        _, scores, best = evaluate(low, high)
        cut_low, cut_high = low > whole[:, 0], high < whole[:, 1]
        if ((best == low) & cut_low | (best == high) & cut_high).any():
            continue  # a valley leads out of this grid: again around its end
        fine, levels = fine * 4 / (grid - 1), levels - 1
        if not levels:
            break
    score = float(scores.min())
    best = best if math.isfinite(score) else np.full(len(best), np.nan)
    near = np.abs(best[:, None] - whole).min(axis=1) <= step / 2
    others = [tuple({*range(len(best))} - {i}) for i in range(len(best))]
    return Collapse(
        p_c=float(best[0]),
        nu=math.exp(best[1]),
        kappa=float(best[2]) if three else None,
        score=score,
        at_edge=tuple(name for name, bad in zip(ranges, near, strict=True) if bad),
        profiles={
            name: np.stack([nodes[i], coarse.min(others[i])])
            for i, name in enumerate(ranges)
        },
    )


def _check(p, accuracy, sizes, ranges: Mapping[str, Range], window, grid) -> None:
    check_levels(p, accuracy)
    if sizes.ndim != 1 or accuracy.shape != (sizes.size, p.size):
        raise InputError(
            f"`accuracy` must be one curve per size, {(sizes.size, p.size)}, got shape "
            f"{accuracy.shape}."
        )
    if np.unique(sizes).size < 2 or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise InputError(
            f"`sizes` must be two positive ones or more, got {sizes.tolist()}."
        )
    if not np.isfinite(accuracy).all():
        bad = accuracy[~np.isfinite(accuracy)]
        raise InputError(f"`accuracy` must be finite, got {bad[0]} {bad.size} times.")
    for name, (low, high) in {**ranges, "window": window}.items():
        if not -np.inf < low < high < np.inf:
            raise InputError(f"`{name}` must be a range, low < high, got {low, high}.")
    if ranges["nu"][0] <= 0:
        raise InputError(f"`nu` must be positive, got the range {ranges['nu']}.")
    low, high = ranges["p_c"]
    if "kappa" in ranges and not p[0] <= low < high <= p[-1]:
        raise InputError(
            f"`p_c` must be inside the levels {p[0]:g} ... {p[-1]:g} where kappa is "
            f"searched, got {low, high}."
        )
    if grid < 5:
        raise InputError(f"`grid` must be at least 5, got {grid}.")


@checked
def bootstrap_collapse(
    p: ArrayLike,
    samples: ArrayLike,
    sizes: ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int = 200,
    level: float = 0.95,
    **options: Any,
) -> tuple[dict[str, Interval], dict[str, float]]:
    """Percentile intervals of the parameters, over repeats of all curves.

    Args:
        p: increasing levels (P,).
        samples: repeats (R, S, P), R >= 2; see `bootstrap.bootstrap` for how many.
        sizes: (S,).
        rng: drawn from.
        resamples: of the repeats, whole, with replacement. A search each.
        level: of the intervals.
        **options: of `collapse`.

    Returns:
        By parameter, its interval, and the share of resamples that end at an edge of
        its range: above (1 - level)/2, an end of the interval is that of the range. A
        resample without points in common has failed.

    Raises:
        InputError: as `collapse`, or if there are too few repeats.
    """
    samples = doors.host("samples", samples)
    means = resampled_means(samples, rng=rng, resamples=resamples, level=level)
    centre = collapse(p, samples.mean(axis=0), sizes, **options)
    found = evaluated(lambda mean: collapse(p, mean, sizes, **options), means)
    names = tuple(centre.profiles)
    intervals = {
        name: percentiles(
            getattr(centre, name), [getattr(one, name) for one in found], level
        )
        for name in names
    }
    edges = {name: sum(name in one.at_edge for one in found) for name in names}
    return intervals, {name: count / resamples for name, count in edges.items()}
