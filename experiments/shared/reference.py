"""Published figures beside our own: source value | own value | tolerance | verdict.

A file of `reference/` holds its `source`, the `setting` it was run in, and `values`:
each with the settings it varies, what decides which of our numbers it is (`inits` that
are averaged, "inf" for all; `of`, a name in a row; or `p_test`), what it is a figure
of, the value, and a tolerance.
"""

import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from experiments.harness.run_directory import Row
from experiments.shared.rows import matching, pool

_FOLDER = pathlib.Path(__file__).parents[1] / "reference"
_ABOUT = ("inits", "of", "p_test", "quantity", "value", "tolerance")
# (rows of an entry, the entry) -> our number, None where there is none
Own = Callable[[Sequence[Row], dict[str, Any]], float | None]


def read(name: str) -> dict[str, Any]:
    """Returns the published figures of an experiment."""
    return json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))


def verdict(entry: dict[str, Any], value: float) -> str:
    """Returns source value, own value, tolerance, and whether it is kept."""
    kept = abs(value - entry["value"]) <= entry["tolerance"]
    return (
        f"{entry['value']:.3f}  {value:.3f}  tolerance {entry['tolerance']:.2f}: "
        f"{'within' if kept else 'MISSED'}"
    )


def _of_routes(group: Sequence[Row], entry: dict[str, Any]) -> float | None:
    pooled = pool(group, entry["inits"])
    return None if pooled is None else pooled[0]


def report(name: str, rows: Sequence[Row], own: Own = _of_routes) -> list[str]:
    """Lines that set numbers of the rows beside the source's; none elsewhere."""
    reference = read(name)
    same = matching(rows, reference["setting"])
    lines = ["", reference["source"], f"{'p':>6}  {'quantity':<44} source  own"]
    head = len(lines)
    for entry in reference["values"]:
        about = {k: v for k, v in entry.items() if k not in _ABOUT}
        group = [row for row in same if all(row.get(k) == v for k, v in about.items())]
        value = own(group, entry)
        if value is not None:
            lines.append(
                f"{entry['p']:>6g}  {entry['quantity']:<44} {verdict(entry, value)}"
            )
    return lines if len(lines) > head else []
