"""Cells that a run directory lacks: which, what they cost, and computing them."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tqdm

from experiments.harness.environment import environment
from experiments.harness.run_directory import Cell, Row, RunDirectory
from theory.errors import NumericalError

# of one cell; a row and arrays
Compute = Callable[[Cell], tuple[Mapping[str, Any], Mapping[str, Any]]]


def missing(cells: Sequence[Cell], rows: Sequence[Row]) -> list[Cell]:
    """Returns the cells that no row is of."""
    computed = {row["key"] for row in rows}
    return [cell for cell in cells if cell.key not in computed]


def labels(cells: Sequence[Cell]) -> dict[str, str]:
    """Returns, by key, the settings that tell the cells apart."""
    names = dict.fromkeys(name for cell in cells for name in cell.settings)
    values = {n: {str(c.settings[n]) for c in cells if n in c.settings} for n in names}
    varying = [n for n in names if len(values[n]) > 1]
    return {
        c.key: " ".join(f"{n}={c.settings[n]}" for n in varying if n in c.settings)
        for c in cells
    }


class Progress:
    """A bar or, without a terminal, a line for each cell that is done."""

    def __init__(self, total: int, names: Mapping[str, str]):
        """Of `total` cells, which `names` calls by their keys."""
        self._bar = tqdm.tqdm(total=total, disable=None)
        self._names, self._number, self._total = names, 0, total

    def __enter__(self) -> "Progress":
        """Shows it from now on."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the bar as it is."""
        self._bar.close()

    def begin(self, key: str) -> None:
        """Shows which cell is in work."""
        self._bar.set_description(self._names[key])

    def end(self, key: str, how: str, *, failed: bool = False) -> None:
        """Counts a cell that is done or failed."""
        self._number += 1
        self._bar.update()
        if self._bar.disable or failed:
            self.say(f"[{self._number}/{self._total}] {self._names[key]} ({how})")

    def say(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        self._bar.write(line, file=sys.stderr)


def compute(
    cells: Sequence[Cell],
    directory: RunDirectory,
    one: Compute,
    names: Mapping[str, str],
) -> None:
    """Computes cell by cell what the directory lacks of `cells`, called by `names`."""
    lacking = missing(cells, directory.rows(cells))
    count = f"{len(cells)} cells, {len(lacking)} to compute"
    print(f"{directory.path}: {count}", file=sys.stderr)
    if lacking:
        directory.write_json("environment.json", environment())
    failed: dict[str, NumericalError] = {}
    with Progress(len(lacking), names) as progress:
        for cell in lacking:
            progress.begin(cell.key)
            start = time.perf_counter()
            try:
                row, arrays = one(cell)
                seconds = round(time.perf_counter() - start, 3)
                directory.save(cell, {**row, "seconds": seconds}, arrays)
                progress.end(cell.key, f"{seconds:.1f} s")
            except NumericalError as error:
                failed[names[cell.key]] = error
                progress.end(cell.key, f"failed: {error}", failed=True)
    if failed:
        label, error = next(iter(failed.items()))
        raise NumericalError(
            f"{len(failed)} of {len(cells)} cells failed; others are stored, and have "
            f"a table without these. The first: {label}: {error}"
        )


def print_plan(
    cells: Sequence[Cell],
    lacking: Sequence[Cell],
    names: Mapping[str, str],
    seconds: Sequence[float] | None,
    parts: Sequence[Sequence[Cell]] = (),
) -> None:
    """Prints which cells there are, what the others take and which job has them."""
    absent = {cell.key for cell in lacking}
    jobs = {
        cell.key: f"  job {number}/{len(parts)}"
        for number, part in enumerate(parts, start=1)
        for cell in part
    }
    for cell in cells:
        state = "missing " if cell.key in absent else "computed"
        print(f"{state}  {cell.key}  {names[cell.key]}{jobs.get(cell.key, '')}")
    cost = "" if seconds is None else f", about {sum(seconds):.0f} s"
    if parts:
        cost += f", in {len(parts)} jobs"
    if parts and seconds is not None:
        of = {cell.key: each for cell, each in zip(lacking, seconds, strict=True)}
        longest = max(sum(of[cell.key] for cell in part) for part in parts)
        cost += f" of at most {longest:.0f} s"
    print(f"{len(cells)} cells, {len(lacking)} to compute{cost}")
