"""Lines of metrics.jsonl: rows with a checksum of each, and of its arrays.

So damage of any kind is told apart from what a run wrote. `seconds` is left out: all
else is the same after an interrupted and an uninterrupted run. Rows of older versions
have no checksum, and are taken as they are.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from theory import files
from theory.errors import NumericalError

Row = dict[str, Any]

_CHECKSUM, _FORM = "checksum", re.compile("[0-9a-f]{16}-[0-9a-f]{16}")


def dumps(value: Any, **options: Any) -> str:
    """Returns JSON, of NumPy and JAX numbers and arrays too."""
    return json.dumps(value, default=lambda array: array.tolist(), **options)


def checked(row: Mapping[str, Any]) -> Row:
    """Returns the row as it is read back: lists and Python scalars.

    Raises:
        NumericalError: a number is not finite. What a cell does not know is None, see
            `known`.
    """
    bad = []
    for name, value in row.items():
        try:
            dumps(value, allow_nan=False)
        except ValueError:
            bad.append(f"`{name}`")
    if bad:
        raise NumericalError(f"{', '.join(bad)} came out as NaN or infinity")
    return json.loads(dumps(row))


def known(value: Any) -> Any:
    """Returns None in place of numbers that are not finite, at any depth.

    For what a cell may not know, such as an area under a curve where nothing fails. All
    else that is not finite is a failure, so that nobody says this of a whole row.
    """
    if isinstance(value, Mapping):
        return {name: known(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [known(part) for part in value]
    finite = value is None or isinstance(value, str) or np.isfinite(value)
    return value if finite else None


def _checksum(row: Row, of_arrays: str) -> str:
    row = {name: value for name, value in row.items() if name != "seconds"}
    content = json.dumps([row, of_arrays], sort_keys=True).encode()
    return f"{hashlib.sha256(content).hexdigest()[:16]}-{of_arrays}"


def written(row: Row, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns the line of a row."""
    line = {**row, _CHECKSUM: _checksum(row, files.digest(arrays))}
    return json.dumps(line).encode() + b"\n"


def read(line: bytes) -> tuple[Row, str | None]:
    """Returns the row of a line, and the checksum of its arrays if it has one.

    Raises:
        ValueError: it is not a line as it was written.
    """
    row = json.loads(line, parse_constant=_refuse)
    if not isinstance(row, dict) or not isinstance(row.get("key"), str):
        raise ValueError("not a row")
    seconds = row.get("seconds", 0.0)
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        raise ValueError("not a time")
    if _CHECKSUM not in row:
        if any(_FORM.fullmatch(value) for value in row.values() if type(value) is str):
            raise ValueError("a checksum by another name")
        return row, None
    found = str(row.pop(_CHECKSUM))
    of_arrays = found.partition("-")[2]
    if found != _checksum(row, of_arrays):
        raise ValueError("not as it was written")
    return row, of_arrays


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
