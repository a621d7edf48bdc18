"""Run directories: the cells of an experiment on disk, safe against a kill.

    metrics.jsonl      one row per cell: its key, its settings, its numbers, `seconds`
    arrays/KEY.npz     the arrays of that cell, complete before the row appears
    config.json, environment.json, figures/

A cell counts as computed once its row is complete and its arrays are readable. The
row is appended last, so a kill at any instant costs at most the cell in work. Fields
called `seconds` are timings; all others are the same after an interrupted and an
uninterrupted run. Numbers that are not finite are stored as null.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import zipfile
from collections.abc import Generator, Iterable, Mapping
from typing import IO, Any

import numpy as np

from theory import files
from theory.errors import InputError

Row = dict[str, Any]

_PARTIAL = ".ntk-partial"


def _dumps(value: Any, **options: Any) -> str:
    """Returns JSON, of NumPy and JAX numbers and arrays too."""
    return json.dumps(value, default=lambda array: array.tolist(), **options)


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
                _dumps(value, allow_nan=False)
            except ValueError:
                raise InputError(f"`{name}` must be finite, got {value}.") from None
        object.__setattr__(self, "settings", json.loads(_dumps(self.settings)))

    @property
    def key(self) -> str:
        """Short hash of the settings, whatever their order; 1.0 and 1 are the same."""

        def number(text: str) -> int | float:
            return int(float(text)) if float(text).is_integer() else float(text)

        settings = json.loads(_dumps(self.settings), parse_float=number)
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
            InputError: metrics.jsonl holds a complete line that is not a row.
        """
        rows = self._read()
        keys = list(rows) if cells is None else [cell.key for cell in cells]
        return [rows[key] for key in keys if key in rows and self._intact(key)]

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
        with self._blaming_workdir(), np.load(self._arrays_path(row["key"])) as arrays:
            return dict(arrays)

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
        row = {"key": cell.key, **cell.settings, **row}
        row = json.loads(_dumps(row), parse_constant=lambda _not_finite: None)
        arrays = {name: np.asarray(value) for name, value in arrays.items()}
        for name, array in arrays.items():
            if array.dtype.kind not in "biufcSU":  # np.load would not give it back
                raise TypeError(f"`{name}` must be numbers or text, got {array.dtype}.")
        with self.new_file(f"arrays/{cell.key}.npz") as file:
            np.savez(file, allow_pickle=False, **arrays)
        with self._blaming_workdir(), self._metrics.open("ab") as file:
            file.write(json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def discard(self, cells: Iterable[Cell]) -> None:
        """Forgets `cells`: their rows at once, then their arrays."""
        discarded = {cell.key for cell in cells}
        kept = [row for key, row in self._read().items() if key not in discarded]
        with self.new_file(self._metrics.name) as file:
            file.writelines(json.dumps(row).encode() + b"\n" for row in kept)
        with self._blaming_workdir():
            for key in discarded:
                self._arrays_path(key).unlink(missing_ok=True)

    def write_json(self, name: str, value: Any) -> None:
        """Writes a small file such as config.json, whole or not at all."""
        with self.new_file(name) as file:
            file.write(_dumps(value, indent=2).encode() + b"\n")

    def read_json(self, name: str) -> Any:
        """Returns what `write_json` wrote, or None where there is no such file."""
        content = self._content(self.path / name)
        try:
            return json.loads(content) if content else None
        except ValueError as error:
            raise InputError(f"{self.path / name} must be JSON: {error}.") from None

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

    def _content(self, path: pathlib.Path) -> bytes:
        with self._blaming_workdir(), contextlib.suppress(FileNotFoundError):
            return path.read_bytes()
        return b""

    def _read(self) -> dict[str, Row]:
        """Returns the complete rows by key, the last one of each."""
        *lines, _torn = self._content(self._metrics).split(b"\n")
        rows = {}
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                rows[row["key"]] = row
            except (ValueError, TypeError, KeyError):
                raise InputError(
                    f"line {number} of {self._metrics} must be a JSON object with a "
                    f"key, got {line[:40].decode(errors='replace')!r}: delete that "
                    "line, and its cell is computed again."
                ) from None
        return rows

    def _intact(self, key: str) -> bool:
        try:
            with zipfile.ZipFile(self._arrays_path(key)) as archive:
                return archive.testzip() is None
        except Exception:  # whatever is wrong with it, the cell is computed again
            return False

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
            occupied = isinstance(error, FileExistsError | NotADirectoryError)
            reason = "a file is in the way" if occupied else error.strerror or error
            raise InputError(
                "`--workdir` must be a directory that can be read and written, got "
                f"{self.path}: {reason}."
            ) from None


def environment() -> dict[str, Any]:
    """Returns what the numbers are computed with: commit, versions, device, x64."""
    import jax

    packages = ("ntk-corrupt", "jax", "jaxlib", "flax", "numpy")
    return {
        **_commit(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "x64": jax.config.jax_enable_x64,  # ty: ignore[missing-attribute]
    }


def _commit() -> dict[str, Any]:
    """Returns the commit of this file's checkout; None where it is in none."""
    here = pathlib.Path(__file__)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.check_output(
            command, stderr=subprocess.DEVNULL, text=True, timeout=10
        ).strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # not some checkout around .venv
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "-s"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
