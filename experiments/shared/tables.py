"""Pieces of text that reports are made of, and the rows behind them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import theory
from experiments.harness.run_directory import Row


def change(row: Row, reference: Row) -> np.ndarray:
    """Differences of accuracies, repeat by repeat."""
    return np.array(row["accuracies"]) - np.array(reference["accuracies"])


def gain(row: Row, reference: Row) -> tuple[float, float]:
    """Mean difference of accuracies, repeat by repeat, and its standard error."""
    found = change(row, reference)
    return float(found.mean()), theory.standard_error(found)


def pick(rows: Sequence[Row], **settings) -> Row | None:
    """The row of these settings, None if there is none."""
    for row in rows:
        if all(row.get(name) == value for name, value in settings.items()):
            return row
    return None


def number(
    mean: float | np.ndarray,
    error: float | np.ndarray,
    *,
    width: int = 0,
    digits: int = 3,
    sign: str = "",
) -> str:
    """A number and its standard error; blanks where nothing tells the error."""
    known = f" ±{error:.{digits}f}" if np.isfinite(error) else " " * (digits + 4)
    return f"{mean:>{sign}{width}.{digits}f}{known}"


def numbers(mean: np.ndarray, error: np.ndarray, **how: Any) -> str:
    """Several of them, one after the other."""
    return "".join(number(*each, **how) for each in zip(mean, error, strict=True))


def text(pooled: tuple[float, float] | None) -> str:
    """Returns what `pool` found as 16 characters of a table."""
    if pooled is None:
        return f"{'-':>16}"
    return number(*pooled, width=9, digits=4)
