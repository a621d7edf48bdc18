"""Shards: parts of a run that processes compute each for itself, here or elsewhere.

    shards/I-of-N/     a run directory of its own, inside that of the run

A shard computes its part of what the run lacks. It locks its own folder alone, so that
shards do not wait for each other; the run takes up what they stored when it is written
next, and refuses while one of them still writes.
"""

import contextlib
import dataclasses
import heapq
import re
import shutil
from collections.abc import Callable, Sequence

from experiments.harness.run_directory import Cell, Row, RunDirectory
from theory.errors import InputError

_FOLDER = "shards"
MOST = 1000  # jobs of an array that Slurm takes unless told otherwise


@dataclasses.dataclass(frozen=True)
class Shard:
    """Part `number`, from 1, of `count`."""

    number: int
    count: int

    @classmethod
    def read(cls, text: str) -> "Shard":
        """Returns the shard that a text such as 2/3 stands for."""
        found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text, re.ASCII)
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.count <= MOST:
            raise InputError(
                "`--shard` must be I/N, the I-th of N parts, such as 2/3, with N at "
                f"most {MOST}, got {text!r}."
            )
        return shard

    def directory(self, run: RunDirectory) -> RunDirectory:
        """Returns where the shard writes."""
        return RunDirectory(run.path / _FOLDER / f"{self.number}-of-{self.count}")


def split(
    cells: Sequence[Cell], seconds: Sequence[float] | None, count: int
) -> list[list[Cell]]:
    """Returns the cells in `count` parts that take about equally long.

    The longest cells go first, each to the part that has least. That is the same in
    every process; without estimates the cells are dealt in turn.
    """
    costs = [1.0] * len(cells) if seconds is None else list(seconds)
    parts: list[list[int]] = [[] for _ in range(count)]
    loads = [(0.0, 0, number) for number in range(count)]  # smallest first: a heap
    for index in sorted(range(len(cells)), key=lambda i: -costs[i]):
        load, size, number = loads[0]
        parts[number].append(index)
        heapq.heapreplace(loads, (load + costs[index], size + 1, number))
    return [[cells[index] for index in sorted(part)] for part in parts]


def directories(run: RunDirectory) -> list[RunDirectory]:
    """Returns those of the shards that there are."""
    return [RunDirectory(p) for p in sorted((run.path / _FOLDER).glob("*-of-*"))]


def rows(run: RunDirectory, cells: Sequence[Cell]) -> list[Row]:
    """Returns the rows of the cells that the run or a shard has, in their order."""
    everywhere = (*directories(run), run)
    found = {row["key"]: row for each in everywhere for row in each.rows(cells)}
    return [found[cell.key] for cell in cells if cell.key in found]


def take_up(run: RunDirectory, check: Callable[[RunDirectory], None]) -> None:
    """Moves into the run, which is being written, what its shards stored.

    Args:
        run: the run.
        check: raises `InputError` on a directory that is not of its experiment.

    Raises:
        InputError: a shard is still being written.
    """
    for shard in directories(run):
        check(shard)
        with shard.writing():
            environment = shard.read_json("environment.json")
            if shard.take_into(run) and environment is not None:
                run.write_json("environment.json", environment)
            shutil.rmtree(shard.path, ignore_errors=True)
    with contextlib.suppress(OSError):  # none there, or one just begun
        (run.path / _FOLDER).rmdir()


class News:
    """The rows that shards store while one looks on."""

    def __init__(self, run: RunDirectory):
        """Looks at a run; what its shards hold already is news."""
        self._run = run
        self._sizes: dict[str, int] = {}
        self._told: set[str] = set()

    def __call__(self) -> list[Row]:
        """Returns the rows that were not returned before."""
        found = []
        for shard in directories(self._run):
            metrics = shard.path / "metrics.jsonl"
            size = metrics.stat().st_size if metrics.exists() else 0
            if self._sizes.get(shard.path.name, 0) != size:  # arrays may be large
                self._sizes[shard.path.name] = size
                found += [row for row in shard.rows() if row["key"] not in self._told]
        self._told |= {row["key"] for row in found}
        return found
