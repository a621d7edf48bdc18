"""What is expected, what the source says, what is found: one line each."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

import theory
from experiments.shared import tables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expected:
    """A number that is expected in a range.

    Attributes:
        what: in words.
        own: as measured, one per repeat.
        least: the range of its mean over repeats, both ends in it.
        most: see `least`.
        strictly: whether the ends are not in it.
        source: what the source says, as text.
    """

    what: str
    own: Sequence[float] | np.ndarray
    least: float = -math.inf
    most: float = math.inf
    strictly: bool = False
    source: str = "-"

    @property
    def holds(self) -> bool:
        """Whether the mean is in the range; never if it is no number."""
        mean = float(np.mean(self.own))
        if self.strictly:
            return self.least < mean < self.most
        return self.least <= mean <= self.most


def lines(expected: Sequence[Expected]) -> list[str]:
    """Returns a table: mean, standard error and range over repeats, and the verdict."""
    if not expected:
        return []
    what = max(30, *(len(each.what) for each in expected))
    source = max(8, *(len(each.source) for each in expected))
    head = (
        f"{'expected':<{what}}  {'source':<{source}}  {'own':<28}  {'tolerance':<16}"
        "  verdict"
    )
    return ["", head, *(_line(each, what, source) for each in expected)]


def _line(each: Expected, what: int, source: int) -> str:
    own = np.asarray(each.own, float)
    found = tables.number(own.mean(), theory.standard_error(own)).strip()
    if own.size > 1:
        found += f" [{own.min():.3f}, {own.max():.3f}]"
    equal = "" if each.strictly else "="
    if each.least == each.most:
        tolerance = f"= {each.least:g}"
    elif math.isinf(each.most):
        tolerance = f">{equal} {each.least:g}"
    elif math.isinf(each.least):
        tolerance = f"<{equal} {each.most:g}"
    else:
        tolerance = f"{each.least:g} to {each.most:g}"
    return (
        f"{each.what:<{what}}  {each.source:<{source}}  {found:<28}  {tolerance:<16}"
        f"  {'holds' if each.holds else 'MISSED'}"
    )
