"""Pieces of text that reports are made of, and the rows behind them."""

from collections.abc import Sequence

import numpy as np

import theory
from experiments.harness.run_directory import Row


def gain(row: Row, reference: Row) -> tuple[float, float]:
    """Mean difference of accuracies, repeat by repeat, and its standard error."""
    change = np.array(row["accuracies"]) - np.array(reference["accuracies"])
    return float(change.mean()), float(theory.standard_error(change))


def pick(rows: Sequence[Row], **settings) -> Row | None:
    """The row of these settings, None if there is none."""
    for row in rows:
        if all(row.get(name) == value for name, value in settings.items()):
            return row
    return None


def verdict(said: str, value: float, holds: bool) -> str:
    """One line: what is expected, what is found."""
    return f"{said}: {value:+.3f} {'holds' if holds else 'MISSED'}"


def text(pooled: tuple[float, float] | None) -> str:
    """Returns what `pool` found as 16 characters of a table."""
    if pooled is None:
        return f"{'-':>16}"
    mean, stderr = pooled
    return f"{mean:>9.4f}" + (f" ±{stderr:.4f}" if np.isfinite(stderr) else " " * 7)
