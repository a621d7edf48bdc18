"""What a table must not hide: laws that are not valid, and numbers that are none.

A row of a law holds `doubts`, one text, empty where there are none. Numbers that are
not finite are null in a row.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.harness.run_directory import Cell, Row


def caveats(
    rows: Sequence[Row], cells: Sequence[Cell], labels: Mapping[str, str], table: str
) -> list[str]:
    """Returns the lines to print below a table; none where there is nothing to say.

    Args:
        rows: of the table.
        cells: those of the rows.
        labels: what to call each cell, by its key.
        table: which may say of laws that they are not valid itself.
    """
    settings = {cell.key: cell.settings.keys() for cell in cells}
    doubted: dict[str, list[str]] = {}
    missing: dict[str, int] = {}
    for row in rows:
        if row.get("doubts") and f"not valid: {row['doubts']}" not in table:
            doubted.setdefault(row["doubts"], []).append(labels[row["key"]])
        for name, value in row.items():
            if name not in settings[row["key"]] and _has_none(value):
                missing[name] = missing.get(name, 0) + 1
    lines = [
        f"not valid ({why}){': ' if any(of) else ''}{'; '.join(of)}"
        for why, of in doubted.items()
    ]
    if missing:
        found = (f"{name} of {n} of {len(rows)} cells" for name, n in missing.items())
        lines.append(f"not finite: {', '.join(found)}")
    return lines


def with_nan(rows: Sequence[Row], cells: Sequence[Cell]) -> list[Row]:
    """Returns the rows with the NaN that a null stands for, where it is no setting."""
    settings = {cell.key: cell.settings.keys() for cell in cells}
    return [
        {
            name: value if name in settings[row["key"]] else _nan_for_none(value)
            for name, value in row.items()
        }
        for row in rows
    ]


def _nan_for_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _nan_for_none(each) for name, each in value.items()}
    if isinstance(value, list):
        return list(map(_nan_for_none, value))
    return math.nan if value is None else value


def _has_none(value: Any) -> bool:
    """Tells whether a column holds a null, at any depth."""
    if isinstance(value, Mapping):
        return any(map(_has_none, value.values()))
    if isinstance(value, list):
        return any(map(_has_none, value))
    return value is None
