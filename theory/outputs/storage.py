"""Records on disk: arrays, scalars, and diagnostics by name, in one npz file."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from theory import files
from theory.errors import InputError

Record = TypeVar("Record")

_DIAGNOSTIC = "diagnostics."
_KIND, _CHECKSUM = "kind", "checksum"
# Fields that are not arrays. But for the diagnostics, by name, they stay behind.
_APART = ("diagnostics", "cross", "solved")


def save(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a file that is complete or absent: under another name first.

    Args:
        path: of the file, in a folder that exists; `~` is the user's home.
        value: a record of arrays, None, static scalars and `diagnostics`, a dictionary
            of numbers, strings, booleans, arrays of them, or tuples of strings. `cross`
            and `solved` are left out.

    Raises:
        InputError: where a value cannot be stored, or the system refuses.
    """
    path = files.expanded(path)
    parts = {name: getattr(value, name) for name in _names(type(value))}
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
    # first: where damage takes away the end of the list of arrays, it stays
    contents = {_CHECKSUM: np.asarray(files.digest(contents)), **contents}
    with files.new_file(path) as file:
        np.savez(file, **contents)


def _names(cls: Any) -> list[str]:
    """The fields that a file holds, beside the diagnostics."""
    return [field.name for field in dataclasses.fields(cls) if field.name not in _APART]


def _read(value: np.ndarray) -> Any:
    """A diagnostic as it was saved."""
    if value.ndim == 0:
        return value.item()
    return tuple(value.tolist()) if value.dtype.kind == "U" else value


def _kinds(cls: Any) -> dict[str, Any]:
    """A class and those that extend it, by name."""
    kinds = {cls.__name__: cls}
    for extended in cls.__subclasses__():
        kinds |= _kinds(extended)
    return kinds


def load(
    path: str | os.PathLike[str],
    cls: type[Record],
    check: Callable[[dict[str, Any]], str | None],
) -> Record:
    """Reads a record. Scalars come back as Python's, arrays as JAX's.

    Args:
        path: of the file; `~` is the user's home.
        cls: class of the record: that which was saved, or one that it extends.
        check: what is wrong with the fields, as NumPy arrays and `diagnostics`; None
            where nothing is.

    Raises:
        InputError: where there is no such file, or it does not hold such a record.
    """
    path = files.expanded(path)
    try:
        contents = files.read_arrays(path)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}. Name a file that `save` "
            "wrote."
        ) from None
    except InputError as error:
        raise InputError(f"{error}: save it again.") from None
    checksum = contents.pop(_CHECKSUM, None)  # older versions wrote none
    saved = _saved_class(path, cls, contents)
    parts = {k: v for k, v in contents.items() if not k.startswith(_DIAGNOSTIC)}
    known, wrong = _names(saved), None
    if strange := [name for name in parts if name not in (_KIND, *known)]:
        wrong = (
            f"it holds {', '.join(map(repr, strange))}, which no {saved.__name__} has"
        )
    fields: dict[str, Any] = {name: parts[name] for name in known if name in parts}
    variance = fields.get("init_var")
    if variance is not None and variance.dtype.kind == "f" and np.isnan(variance).all():
        del fields["init_var"]  # as it was written before it could be absent
    fields["diagnostics"] = {
        name.removeprefix(_DIAGNOSTIC): _read(value)
        for name, value in contents.items()
        if name.startswith(_DIAGNOSTIC)
    }
    wrong = wrong or _static_wrong(saved, fields) or check(fields)
    if checksum is not None and str(checksum) != files.digest(contents):
        wrong = wrong or "its arrays are not those that were saved"
    if wrong:
        raise InputError(
            f"{path} holds no sound {saved.__name__}: {wrong}. Compute and save it "
            "again."
        )
    return cls(**_values(cls, fields))


def _saved_class(path: Any, cls: Any, contents: dict[str, np.ndarray]) -> Any:
    """The class that was saved: `cls` or one that extends it, with all its fields."""
    kind = contents.get(_KIND)
    text = kind is not None and kind.shape == () and kind.dtype.kind == "U"
    name = str(kind) if text else "another npz file"
    saved = _kinds(cls).get(name)
    missing = [
        field.name
        for field in dataclasses.fields(saved or cls)
        if field.name not in (*_APART, *contents)
        and field.default is dataclasses.MISSING
    ]
    if missing or saved is None:
        without = f" without {', '.join(missing)}" if missing else ""
        raise InputError(
            f"{path} must hold the fields of {cls.__name__}, got {name}{without}: load "
            "it as what was saved."
        )
    return saved


def _static_wrong(cls: Any, fields: dict[str, Any]) -> str | None:
    for field in dataclasses.fields(cls):
        value = fields.get(field.name)
        if not field.metadata.get("static") or value is None:
            continue
        default = np.asarray(field.default)
        if value.shape != () or value.dtype.kind != default.dtype.kind:
            return (
                f"`{field.name}` must be one {default.dtype}, got {value.dtype} of "
                f"shape {value.shape}"
            )
    return None


def _values(cls: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that `cls` has, as its attributes are."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        name, value = field.name, fields.get(field.name)
        if name == "diagnostics":
            values[name] = value
        elif name in _APART:
            values[name] = None
        elif value is not None:
            static = field.metadata.get("static")
            values[name] = value.item() if static else jnp.asarray(value)
    return values
