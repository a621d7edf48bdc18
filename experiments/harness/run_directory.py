"""Run directories: the cells of an experiment on disk, safe against a kill.

    metrics.jsonl      one row per cell: its key, settings, numbers, `seconds`, checksum
    arrays/KEY.npz     the arrays of that cell, complete before the row appears
    config.json, environment.json, figures/

A cell counts as computed once its row is complete and its arrays are there. The row is
appended last, so a kill at any instant costs at most the cell in work. Fields called
`seconds` are timings; all others are the same after an interrupted and an uninterrupted
run. What a cell does not know is null; a number that is not finite is a failure, and is
not stored. What is not as it was written is refused, never computed over.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Generator, Iterable, Mapping
from typing import IO, Any

import numpy as np

from experiments.harness import lines
from experiments.harness.lines import Row as Row
from theory import files
from theory.errors import InputError

_PARTIAL = ".ntk-partial"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One unit of a run, computed and stored as a whole.

    Attributes:
        settings: everything that decides its numbers, as JSON scalars and lists.
    """

    settings: Mapping[str, Any]

    def __post_init__(self):
        """Reduces the settings to what a row gives back: lists and Python scalars."""
        for name, value in self.settings.items():
            try:
                lines.dumps(value, allow_nan=False)
            except ValueError:
                raise InputError(f"`{name}` must be finite, got {value}.") from None
        object.__setattr__(self, "settings", json.loads(lines.dumps(self.settings)))

    @property
    def key(self) -> str:
        """Short hash of the settings, whatever their order; 1.0 and 1 are the same."""

        def number(text: str) -> int | float:
            return int(float(text)) if float(text).is_integer() else float(text)

        settings = json.loads(lines.dumps(self.settings), parse_float=number)
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunDirectory:
    """A run directory: reads at any time, writes inside `with directory.writing():`.

    Reading creates nothing. Every method raises `InputError` when the system refuses
    access to the directory.
    """

    def __init__(self, workdir: str | os.PathLike[str]):
        """Names the directory; `~` is the user's home."""
        self.path = files.expanded(workdir)
        self._metrics = self.path / "metrics.jsonl"
        self._locked = False

    @contextlib.contextmanager
    def writing(self) -> Generator[None, None, None]:
        """Creates the directory, keeps other writers out and removes torn remains.

        Raises:
            InputError: another process is writing the directory.
        """
        with contextlib.ExitStack() as stack:
            with self._blaming_workdir():
                for folder in (self.path, self.path / "arrays", self.path / "figures"):
                    folder.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((self.path / ".lock").open("wb"))
                try:  # the system releases the lock when the process dies
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise InputError(
                        "`--workdir` must belong to one run at a time, and another one "
                        f"is writing {self.path}: wait for it or choose another."
                    ) from None
                self._remove_remains()
            self._locked = True
            stack.callback(setattr, self, "_locked", False)
            yield

    def rows(self, cells: Iterable[Cell] | None = None) -> list[Row]:
        """Returns the rows of the computed ones among `cells`, in their order.

        Args:
            cells: the cells asked for; None for all of the directory, oldest first.

        Raises:
            InputError: a row or its arrays are not as they were written.
        """
        stored = self._read()
        keys = list(stored) if cells is None else [cell.key for cell in cells]
        return [
            stored[key][0]
            for key in keys
            if key in stored and self._has_arrays(key, stored[key][1])
        ]

    def has(self, cell: Cell) -> bool:
        """Tells whether `cell` is computed."""
        return bool(self.rows([cell]))

    def load(self, cell: Cell) -> tuple[Row, dict[str, np.ndarray]]:
        """Returns row and arrays of a computed cell; KeyError for any other."""
        for row in self.rows([cell]):
            return row, self.arrays(row)
        raise KeyError(cell.key)

    def arrays(self, row: Row) -> dict[str, np.ndarray]:
        """Returns the arrays of the cell of `row`."""
        path = self._arrays_path(row["key"])
        try:
            with self._blaming_workdir():
                return files.read_arrays(path)
        except InputError as error:
            raise InputError(f"{error}: {_again(path)}") from None

    def save(
        self, cell: Cell, row: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> None:
        """Stores a cell: the arrays first, then key, settings and `row` as one line.

        Args:
            cell: the cell.
            row: its numbers, JSON scalars and lists; no name of a setting.
            arrays: its arrays, of numbers, booleans or text.
        """
        if repeated := {"key", *cell.settings} & set(row):
            raise ValueError(
                f"the row repeats the settings {sorted(repeated)}: name its columns "
                "otherwise."
            )
        row = lines.checked({"key": cell.key, **cell.settings, **row})
        arrays = {name: np.asarray(value) for name, value in arrays.items()}
        for name, array in arrays.items():
            if array.dtype.kind not in "biufcSU":  # it would not come back
                raise TypeError(f"`{name}` must be numbers or text, got {array.dtype}.")
        self._store(row, arrays)

    def take_into(self, other: "RunDirectory") -> int:
        """Stores what this directory has and another lacks there; returns how much."""
        there = {row["key"] for row in other.rows()}
        new = [row for row in self.rows() if row["key"] not in there]
        for row in new:
            other._store(row, self.arrays(row))
        return len(new)

    def _store(self, row: Row, arrays: Mapping[str, np.ndarray]) -> None:
        with self.new_file(f"arrays/{row['key']}.npz") as file:
            np.savez(file, allow_pickle=False, **arrays)
        self._append(lines.written(row, arrays))

    def _append(self, line: bytes) -> None:
        """Writes a line at the end, whole or not at all."""
        # without a buffer: it would be written once more when the file is closed
        with self._blaming_workdir(), self._metrics.open("ab", buffering=0) as file:
            end, rest = file.tell(), memoryview(line)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise

    def discard(self, cells: Iterable[Cell]) -> None:
        """Forgets `cells`: their rows at once, then their arrays."""
        discarded = {cell.key for cell in cells}
        stored = self._read()
        kept = [line for key, (_, _, line) in stored.items() if key not in discarded]
        with self.new_file(self._metrics.name) as file:
            file.writelines(line + b"\n" for line in kept)
        with self._blaming_workdir():
            for key in discarded:
                self._arrays_path(key).unlink(missing_ok=True)

    def write_json(self, name: str, value: Any) -> None:
        """Writes a small file such as config.json, whole or not at all."""
        with self.new_file(name) as file:
            file.write(lines.dumps(value, indent=2).encode() + b"\n")

    def read_json(self, name: str) -> Any:
        """Returns what `write_json` wrote, or None where there is no such file."""
        content = self.content(name)
        try:
            return json.loads(content) if content is not None else None
        except ValueError as error:
            raise InputError(
                f"{self.path / name} must be JSON: {error}. Restore it, or choose "
                "another --workdir."
            ) from None

    @contextlib.contextmanager
    def new_file(self, name: str) -> Generator[IO[bytes], None, None]:
        """Opens a file that takes the place of `name` once it is complete."""
        assert self._locked, "writes belong inside `with directory.writing():`"
        path = self.path / name
        partial = path.with_name(f".{path.name}{_PARTIAL}")
        with self._blaming_workdir():
            try:
                with partial.open("wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)

    def _arrays_path(self, key: str) -> pathlib.Path:
        return self.path / "arrays" / f"{key}.npz"

    def content(self, name: str) -> bytes | None:
        """Returns the bytes of a file, or None where there is none."""
        with self._blaming_workdir(), contextlib.suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def _read(self) -> dict[str, tuple[Row, str | None, bytes]]:
        """Returns row, checksum of its arrays and line by key, the last of each."""
        *complete, _torn = (self.content(self._metrics.name) or b"").split(b"\n")
        found = {}
        for number, line in enumerate(complete, start=1):
            try:
                row, of_arrays = lines.read(line)
            except ValueError:
                raise InputError(
                    f"line {number} of {self._metrics} must be a row as a run wrote "
                    f"it, got {line[:40].decode(errors='replace')!r}: delete that "
                    "line, and its cell is computed again."
                ) from None
            found[row["key"]] = row, of_arrays, line
        return found

    def _has_arrays(self, key: str, checksum: str | None) -> bool:
        """Whether the arrays of a row are there; InputError if they are damaged."""
        path = self._arrays_path(key)
        if not path.exists():
            return False
        found = files.digest(self.arrays({"key": key}))
        if checksum not in (None, found):
            raise InputError(
                f"{path} holds other arrays than a run wrote: {_again(path)}"
            )
        return True

    def _remove_remains(self) -> None:
        """Removes what a kill left: temporary files and a torn last line."""
        for folder in (".", "arrays", "figures"):
            for partial in (self.path / folder).glob(f".*{_PARTIAL}"):
                partial.unlink()
        with self._metrics.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)

    @contextlib.contextmanager
    def _blaming_workdir(self) -> Generator[None, None, None]:
        """Turns a refusal of the system into one line."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise InputError(
                    f"the disk is full, or its quota: {self.path} takes no more "
                    f"({error.strerror}). Make room and run the same again; finished "
                    "cells are stored."
                ) from None
            occupied = isinstance(error, FileExistsError | NotADirectoryError)
            reason = "a file is in the way" if occupied else error.strerror or error
            raise InputError(
                "`--workdir` must be a directory that can be read and written, got "
                f"{self.path}: {reason}."
            ) from None


def _again(path: pathlib.Path) -> str:
    return f"remove {path.name}, and its cell is computed again."
