"""Records on disk: arrays, scalars, and diagnostics by name, in one npz file."""

import dataclasses
import os
import pathlib
import zipfile
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from theory.errors import InputError

Record = TypeVar("Record")

_DIAGNOSTIC = "diagnostics."
_KIND = "kind"
# Fields that are not arrays. But for the diagnostics, by name, they stay behind.
_APART = ("diagnostics", "cross", "solved")


def save(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a file that is complete or absent: under another name first.

    Args:
        path: of the file, in a folder that exists.
        value: a record of arrays, None, static scalars and `diagnostics`, a dictionary
            of numbers, strings, booleans, arrays of them, or tuples of strings. `cross`
            and `solved` are left out.

    Raises:
        InputError: where a value cannot be stored, or the system refuses.
    """
    path = pathlib.Path(path)
    names = (field.name for field in dataclasses.fields(value))
    parts = {name: getattr(value, name) for name in names if name not in _APART}
    parts |= {_DIAGNOSTIC + name: part for name, part in value.diagnostics.items()}
    contents: dict[str, Any] = {_KIND: np.asarray(type(value).__name__)}
    for name, part in parts.items():
        if part is None:
            continue
        # of no strings NumPy would make numbers
        contents[name] = np.asarray(part, str if isinstance(part, tuple) else None)
        if contents[name].dtype.kind not in "biufcU":
            raise InputError(
                f"`{name}` must be numbers, strings or booleans to be saved, "
                f"got {type(part).__name__}."
            )
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **contents)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}.") from None
    finally:
        partial.unlink(missing_ok=True)


def _read(value: np.ndarray) -> Any:
    """A diagnostic as it was saved."""
    if value.ndim == 0:
        return value.item()
    return tuple(value.tolist()) if value.dtype.kind == "U" else value


def load(path: str | os.PathLike[str], cls: type[Record]) -> Record:
    """Reads a record. Scalars come back as Python's, arrays as JAX's.

    Args:
        path: of the file.
        cls: class of the record: that which was saved, or one that it extends.

    Raises:
        InputError: where there is no such file, or a field of `cls` is not in it.
    """
    path = pathlib.Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            contents = {name: file[name] for name in file.files}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from None
    except (ValueError, EOFError, TypeError, zipfile.BadZipFile):  # or one plain array
        raise InputError(f"{path} is no readable npz file: save it again.") from None
    diagnostics = {
        name.removeprefix(_DIAGNOSTIC): _read(value)
        for name, value in contents.items()
        if name.startswith(_DIAGNOSTIC)
    }
    values: dict[str, Any] = {"diagnostics": diagnostics}
    missing = []
    for field in dataclasses.fields(cls):  # ty: ignore[invalid-argument-type]
        if field.name in _APART:
            continue
        if field.name in contents:
            value = contents[field.name]
            static = field.metadata.get("static")
            values[field.name] = value.item() if static else jnp.asarray(value)
        elif field.default is dataclasses.MISSING:
            missing.append(field.name)
    if missing:
        raise InputError(
            f"{path} must hold the fields of {cls.__name__}, got "
            f"{contents.get(_KIND, 'another npz file')} without {', '.join(missing)}: "
            "load it as what was saved."
        )
    return cls(**values)
