"""Two routes side by side, point by point."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from theory.errors import InputError
from theory.numerics.signatures import checked
from theory.outputs.draws import Draws
from theory.outputs.law import Labels, OutputLaw
from theory.outputs.statistics import fit_line, ratio, standard_error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """How the second route compares with the first, in plain floats.

    Attributes:
        agreement: probability that both decide alike at a test point; draw by draw
            where the corruption draws are common, else for independent draws. The
            decision of a law is that of its mean.
        accuracy: of the first and the second.
        gap: second accuracy less the first.
        gap_stderr: its standard error over draws; smaller with common draws. NaN where
            there are no draws to tell.
        slope: of the second mean outputs against the first, all points and classes.
        intercept: of that line.
        r2: share of the second's variance that it explains.
        spread_ratio: standard deviation over draws, second over first, of what
            decisions see; NaN where either has a single draw, or both none of it.
        common_draws: whether both saw the same corrupted images.
    """

    agreement: float
    accuracy: tuple[float, float]
    gap: float
    gap_stderr: float
    slope: float
    intercept: float
    r2: float
    spread_ratio: float
    common_draws: bool


@checked
def centred(outputs: np.ndarray) -> np.ndarray:
    """Returns outputs less what the classes share: all that decisions see."""
    return outputs - outputs.mean(axis=-1, keepdims=True)


def _decision_frequencies(route: OutputLaw | Draws) -> Float[Array, "draw n c"]:
    """How often each class is decided for, per draw; one draw for a law."""
    c = (route.mean if isinstance(route, OutputLaw) else route.outputs).shape[-1]
    if isinstance(route, OutputLaw):
        return jax.nn.one_hot(route.decisions(), c)[None]
    return jax.nn.one_hot(route.decisions(), c).mean(axis=1)


def _mean(route: OutputLaw | Draws) -> np.ndarray:
    if isinstance(route, OutputLaw):
        return np.asarray(route.mean, float)
    return np.asarray(route.outputs, float).mean(axis=(0, 1))


def _accuracies(route: OutputLaw | Draws, labels) -> np.ndarray:
    if isinstance(route, OutputLaw):
        return np.array([route.accuracy(labels)])
    return np.asarray(route.accuracies(labels), float)


def _spread(route: OutputLaw | Draws) -> float:
    if isinstance(route, Draws):
        if route.outputs.shape[0] < 2:
            return float("nan")
        # as measured: the mean over the initialisations at hand, their share included
        deviation = centred(np.asarray(route.outputs, float).mean(axis=1))
        # from the first draw: equal draws then have no spread, rather than rounding
        deviation = deviation - deviation[:1]
        return float(np.sqrt(deviation.var(axis=0, ddof=1).sum(-1).mean()))
    return float(jnp.sqrt(route.gap_variance().mean()))


def _have_common_draws(a: OutputLaw | Draws, b: OutputLaw | Draws) -> bool:
    if not (isinstance(a, Draws) and isinstance(b, Draws)):
        return False
    if a.draw_keys is None or b.draw_keys is None:
        return False
    return np.array_equal(np.asarray(a.draw_keys), np.asarray(b.draw_keys))


@checked
def compare(
    first: OutputLaw | Draws, second: OutputLaw | Draws, labels: Labels
) -> Comparison:
    """Compares two routes on the same test points.

    `compare(law.averaged(10), nets, labels)` sets a prediction beside networks, the
    mean of ten initialisations in each draw.

    Args:
        first: a law or draws.
        second: a law or draws.
        labels: of the test points.

    Raises:
        InputError: if the routes have different test points or classes.
    """
    x, y = _mean(first), _mean(second)
    if x.shape != y.shape:
        raise InputError(
            f"the routes must share test points and classes, got {x.shape} and "
            f"{y.shape}."
        )
    common = _have_common_draws(first, second)
    freq_a, freq_b = (_decision_frequencies(route) for route in (first, second))
    if not common:
        freq_a, freq_b = (f.mean(axis=0, keepdims=True) for f in (freq_a, freq_b))
    acc_a, acc_b = (_accuracies(route, labels) for route in (first, second))
    if common:
        gap_stderr = standard_error(acc_b - acc_a)
    else:
        errors = [
            standard_error(acc)
            for acc, route in ((acc_a, first), (acc_b, second))
            if isinstance(route, Draws)
        ]
        gap_stderr = float(np.linalg.norm(errors)) if errors else float("nan")
    line = fit_line(x, y)
    return Comparison(
        agreement=float((freq_a * freq_b).sum(-1).mean()),
        accuracy=(float(acc_a.mean()), float(acc_b.mean())),
        gap=float(acc_b.mean() - acc_a.mean()),
        gap_stderr=gap_stderr,
        slope=line.slope,
        intercept=line.intercept,
        r2=line.r2,
        spread_ratio=ratio(_spread(second), _spread(first)),
        common_draws=common,
    )
