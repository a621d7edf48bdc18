"""Jobs of Slurm, or of this machine, that compute a run: each a shard of it.

submitit submits them, and is imported here alone. A job is the script itself with the
flags that were given and `--shard=I/N`; a job that is queued again, after a time-out or
for one of higher priority, goes on where it was, as shards do.
"""

import contextlib
import dataclasses
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from experiments.harness import computing, interrupts, job_options, shards
from experiments.harness.flags import Options
from experiments.harness.run_directory import Cell, RunDirectory
from theory.errors import InputError, unknown

_FOLDER = "jobs"
_LOOK = 0.5  # seconds between looks at the jobs
_END = 1.5  # seconds for local jobs to end, less than the patience of `interrupts`


@dataclasses.dataclass(frozen=True)
class Script:
    """A script and its arguments, as what submitit calls in a job."""

    command: tuple[str, ...]

    def __call__(self) -> None:
        """Runs the script as Python does."""
        sys.argv = list(self.command)
        try:
            runpy.run_path(self.command[0], run_name="__main__")
        except SystemExit as end:  # others are submitit's: it queues the job again
            if end.code in (2, interrupts.STATUS):
                raise RuntimeError(f"the script ended with status {end.code}") from None
            if end.code:
                raise

    def checkpoint(self) -> Any:
        """Returns what to call when the job is queued again: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where the jobs of a run are.

    Attributes:
        name: slurm or local.
        jobs: how many there are, or fewer where there are fewer cells.
        options: of each job, by their names in sbatch.
        command: the script and its arguments, to which a job adds its shard.
    """

    name: str
    jobs: int
    options: Mapping[str, Any]
    command: tuple[str, ...]

    @classmethod
    def read(cls, options: Options, command: Sequence[str]) -> "Cluster | None":
        """Returns what flags ask for, None where it is no cluster.

        Raises:
            InputError: they make no sense, or what it takes is not there.
        """
        if options.cluster is None:
            for name in ("jobs", "cluster_options"):
                if getattr(options, name) is not None:
                    raise InputError(
                        f"`--{name}` must come with --cluster, got it alone."
                    )
            return None
        if options.shard is not None:
            raise InputError("`--shard` must come without --cluster, got both.")
        if options.jobs is None:
            raise InputError(
                "`--jobs` must say how many jobs share the cells, got none."
            )
        name = options.cluster
        if name not in job_options.KNOWN:
            raise unknown("--cluster", name, job_options.KNOWN)
        found = job_options.read(options.cluster_options or "", name)
        _check_there(name)
        script, *arguments = command
        return cls(
            name=name,
            jobs=options.jobs,
            options=found,
            command=(os.path.abspath(script), *arguments),
        )

    def at_once(self, cells: int) -> int:
        """Returns how many of the cells this machine holds at once."""
        return min(self.jobs, cells) if self.name == "local" else 0

    def split(
        self, cells: Sequence[Cell], seconds: Sequence[float] | None
    ) -> list[list[Cell]]:
        """Returns the cells of each job."""
        return shards.split(cells, seconds, min(self.jobs, len(cells)))

    def compute(
        self,
        cells: Sequence[Cell],
        run: RunDirectory,
        estimate: Callable[[Sequence[Cell]], Sequence[float] | None],
        take_up: Callable[[], None],
        names: Mapping[str, str],
    ) -> None:
        """Has jobs compute what the run lacks of `cells`, and waits for them.

        Args:
            cells: all asked for.
            run: the run, which is being written.
            estimate: the seconds that cells take.
            take_up: moves into the run what its shards stored.
            names: what to call each cell, by its key.

        Raises:
            InputError: a job was lost; what others stored, and it, is in the run.
        """
        lacking = computing.missing(cells, run.rows(cells))
        count = f"{len(cells)} cells, {len(lacking)} to compute"
        if not lacking:
            print(f"{run.path}: {count}", file=sys.stderr)
            return
        parts = self.split(lacking, estimate(lacking))
        folder, jobs = run.path / _FOLDER, []
        where = f"{len(parts)} jobs, {self.name}, with logs in {folder}"
        print(f"{run.path}: {count} in {where}", file=sys.stderr)
        try:
            self._submit(folder, len(parts), jobs)
            _wait(jobs, parts, run, names, self.name)
        except BaseException:
            self._cancel(jobs)
            raise
        take_up()
        for file in folder.glob("*.pkl"):
            file.unlink()
        lost = computing.missing(lacking, run.rows(lacking))
        if lost:
            raise InputError(
                f"jobs ended without {len(lost)} of {len(cells)} cells, see above; "
                "finished cells are stored, the same command without --overwrite "
                "computes the rest."
            )

    def _submit(self, folder: pathlib.Path, count: int, jobs: list[Any]) -> None:
        """Submits a job for each shard, and appends it to `jobs` at once."""
        import submitit

        scripts = [
            Script((*self.command, f"--shard={number}/{count}"))
            for number in range(1, count + 1)
        ]
        if self.name == "local":
            self._start_here(submitit.LocalExecutor(folder), scripts, jobs)
            return
        executor = submitit.SlurmExecutor(folder)
        name = pathlib.Path(self.command[0]).stem
        executor.update_parameters(**{"job_name": name, "time": 60, **self.options})
        try:
            jobs += executor.submit_array(scripts)
        except RuntimeError as error:  # with what sbatch says
            raise InputError(f"sbatch refused the jobs: {error}") from None

    def _start_here(
        self, executor: Any, scripts: Sequence[Script], jobs: list[Any]
    ) -> None:
        """Starts jobs that share the cores, and the GPUs they are given, out evenly."""
        gpus = self.options.get("gpus_per_node", 0)
        executor.update_parameters(
            timeout_min=self.options.get("time", 10**7),  # submitit's is 2
            gpus_per_node=min(gpus, 1),
        )
        for number, script in enumerate(scripts):
            if gpus:
                executor.update_parameters(visible_gpus=(number % gpus,))
            with _on_share(number, len(scripts)), _stderr_to(executor.folder / "log"):
                jobs.append(executor.submit(script))

    def _cancel(self, jobs: Sequence[Any]) -> None:
        if self.name == "slurm":
            ids = sorted({job.job_id.partition("_")[0] for job in jobs})  # of arrays
            if ids:
                subprocess.run(["scancel", *ids], check=False)
            return
        for job in jobs:
            job.cancel()
        end = time.monotonic() + _END
        while time.monotonic() < end and not all(job.done() for job in jobs):
            time.sleep(0.05)


def _check_there(name: str) -> None:
    """Raises `InputError` where submitit, or what it calls, is missing."""
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise InputError(
            "`--cluster` must have submitit, which is not installed: "
            'pip install "ntk-corrupt[cluster]".'
        ) from None
    for program in ("sbatch", "srun") if name == "slurm" else ():
        if shutil.which(program) is None:
            raise InputError(
                f"`--cluster=slurm` must find {program}, which is not on PATH: run "
                "this where jobs of Slurm are submitted, or give --cluster=local."
            )


def _wait(
    jobs: Sequence[Any],
    parts: Sequence[Sequence[Cell]],
    run: RunDirectory,
    names: Mapping[str, str],
    cluster: str,
) -> None:
    """Shows what the jobs do until all have ended, and which ended too early."""
    left = {cell.key for part in parts for cell in part}
    news, running = shards.News(run), set(range(len(jobs)))
    with computing.Progress(len(left), names) as progress:
        while running:
            ended = {number for number in running if jobs[number].done()}
            for row in news():
                if row["key"] in left:
                    left.remove(row["key"])
                    progress.end(row["key"], f"{row['seconds']:.1f} s")
            for number in sorted(ended):
                if lost := sum(cell.key in left for cell in parts[number]):
                    why = f"{lost} of its {len(parts[number])} cells"
                    line = f"job {number + 1}/{len(jobs)} ended without {why}"
                    progress.say(f"{line}: {_reason(jobs[number], cluster)}")
            running -= ended
            if running:
                time.sleep(_LOOK)


def _reason(job: Any, cluster: str) -> str:
    """Returns why a job ended, where its log or Slurm says so, and where the log is."""
    log = job.paths.stderr
    said = log.read_text(errors="replace").splitlines() if log.exists() else []
    errors = [line for line in said if line.startswith("error: ")]
    silent = f"Slurm says {job.state}" if cluster == "slurm" else "it was killed"
    return f"{errors[-1] if errors else silent}, see {log}"


@contextlib.contextmanager
def _on_share(number: int, count: int) -> Generator[None, None, None]:
    """Gives what is started inside its share of the cores of this process.

    XLA starts as many threads as it has cores: each of the jobs would start all.
    """
    if not hasattr(os, "sched_setaffinity"):  # not on macOS
        yield
        return
    cores = os.sched_getaffinity(0)
    own = sorted(cores)[number % len(cores) :: count]
    os.sched_setaffinity(0, own)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def _stderr_to(path: pathlib.Path) -> Generator[None, None, None]:
    """Sends to a file what processes started inside say, as where Ctrl-C ends them."""
    terminal = os.dup(2)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
