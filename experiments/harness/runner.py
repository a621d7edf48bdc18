"""What every experiment shares: flags, presets, the run directory, one-line errors.

A script declares its `Config`, a few plain functions and an `Experiment` of them, and
ends in `runner.main(EXPERIMENT)`. Each `setting` of `Config` is a flag; flags are
defined and read in `main` alone, so that scripts import without side effects. `execute`
does the work, and is what tests and notebooks call.
"""

import dataclasses
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import jax
import tqdm
from absl import app, flags

from experiments.harness import (
    compilation,
    endings,
    interrupts,
    planning,
    sizes,
    terminal,
)
from experiments.harness import flags as settings
from experiments.harness.caveats import caveats, with_nan
from experiments.harness.environment import environment
from experiments.harness.flags import (
    Config,
    Options,
    define_flags,
    read_flags,
    settable,
)
from experiments.harness.run_directory import Cell, Row, RunDirectory
from theory.errors import InputError, NumericalError, unknown

C = TypeVar("C", bound=Config)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment(Generic[C]):
    """A question, as plain functions of its settings.

    Attributes:
        name: name of the script, of its figure and of its default run directory.
        config: the subclass of `Config`; its defaults are the preset `cpu`.
        presets: preset -> settings that differ from the defaults.
        check: raises `InputError` on bad settings, before anything is written.
        cells: the cells that the settings ask for, without computing.
        compute: row and arrays of one cell, whose settings alone decide the numbers;
            columns of the row are named otherwise than settings.
        table: what the terminal shows of the directory and the rows asked for, which
            come in the order of `cells`.
        figure: a `matplotlib.figure.Figure` of the rows and `directory.arrays(row)`.
        estimate: the seconds that one cell will take, for `--dry_run`.
    """

    name: str
    config: type[C]
    presets: Mapping[str, Mapping[str, Any]]
    check: Callable[[C], None]
    cells: Callable[[C], Sequence[Cell]]
    compute: Callable[[C, Cell], tuple[Mapping[str, Any], Mapping[str, Any]]]
    table: Callable[[RunDirectory, Sequence[Row]], str]
    figure: Callable[[RunDirectory, Sequence[Row]], Any]
    estimate: Callable[[C, Cell], float] | None = None

    def configure(self, preset: str = "cpu", **explicit: Any) -> C:
        """Returns the settings of a preset, with the `explicit` ones in their place."""
        presets = {"cpu": {}, **self.presets}
        if preset not in presets:
            raise unknown("--preset", preset, presets)
        names = [field.name for field in settable(self.config)]
        for name in explicit:
            if name not in names:
                raise unknown(f"setting of {self.name}", name, names)
        return self.config(**{**presets[preset], **explicit})


def execute(
    experiment: Experiment[C],
    config: C,
    *,
    workdir: str | os.PathLike[str],
    overwrite: bool = False,
    dry_run: bool = False,
) -> list[Row]:
    """Computes the cells that `workdir` lacks, then tabulates and draws all asked for.

    Whether x64 is on decides numbers too, so it joins the settings of every cell.

    Args:
        experiment: what to compute.
        config: its settings.
        workdir: the run directory; created unless the settings are bad.
        overwrite: discard the cells asked for first.
        dry_run: print what there is and what is missing; write nothing.

    Returns:
        The rows of the cells asked for, in the order of `experiment.cells`.
    """
    if not 0 <= config.seed < 2**31:
        raise InputError(f"`--seed` must be in 0 ... 2^31 - 1, got {config.seed}.")
    settings.check(config)
    with planning.planning(dry_run):
        return _execute(
            experiment,
            config,
            RunDirectory(workdir),
            overwrite=overwrite,
            dry_run=dry_run,
        )


def _execute(
    experiment: Experiment[C],
    config: C,
    directory: RunDirectory,
    *,
    overwrite: bool,
    dry_run: bool,
) -> list[Row]:
    """`execute`, with a run directory and numbers that are in their ranges."""
    experiment.check(config)
    x64 = jax.config.jax_enable_x64  # ty: ignore[missing-attribute]
    asked = [Cell({**cell.settings, "x64": x64}) for cell in experiment.cells(config)]
    asked = list({cell.key: cell for cell in asked}.values())
    if not asked:
        raise InputError("settings must ask for one cell at least, got none.")
    _check_owner(experiment, directory)
    rows = [] if overwrite else directory.rows(asked)
    missing = _missing(asked, rows)
    seconds = _estimate(experiment, config, missing)
    sizes.check(config, missing, seconds)
    if dry_run:
        _print_plan(asked, missing, seconds)
        return rows
    with directory.writing():
        if overwrite:
            directory.discard(asked)
        own = {"experiment": experiment.name, **dataclasses.asdict(config)}
        directory.write_json("config.json", own)
        _compute_missing(experiment, config, asked, directory)
        rows = directory.rows(asked)
        numbers = with_nan(rows, asked)
        table = experiment.table(directory, numbers)
        print(table, *caveats(rows, asked, _labels(asked), table), sep="\n")
        _draw(experiment, numbers, directory)
    return rows


def _check_owner(experiment: Experiment, directory: RunDirectory) -> None:
    """Raises `InputError` unless the directory is new, or of this experiment."""
    found = directory.read_json("config.json")
    if found is None and not directory.rows():
        return
    owner = found.get("experiment") if isinstance(found, dict) else None
    if not isinstance(owner, str):
        raise InputError(
            f"{directory.path / 'config.json'} must say of which experiment the rows "
            f'beside it are, and does not: write {{"experiment": "NAME"}} into it, or '
            "choose another --workdir."
        )
    if owner != experiment.name:
        raise InputError(
            f"`--workdir` must be new or a run of {experiment.name}, got "
            f"{directory.path}: its config.json is of {owner}."
        )


def _missing(cells: Sequence[Cell], rows: Sequence[Row]) -> list[Cell]:
    computed = {row["key"] for row in rows}
    return [cell for cell in cells if cell.key not in computed]


def _labels(cells: Sequence[Cell]) -> dict[str, str]:
    """Returns, by key, the settings that tell the cells apart."""
    names = dict.fromkeys(name for cell in cells for name in cell.settings)
    values = {n: {str(c.settings[n]) for c in cells if n in c.settings} for n in names}
    varying = [n for n in names if len(values[n]) > 1]
    return {
        c.key: " ".join(f"{n}={c.settings[n]}" for n in varying if n in c.settings)
        for c in cells
    }


def _compute_missing(
    experiment: Experiment[C], config: C, cells: Sequence[Cell], directory: RunDirectory
) -> None:
    """Computes cell by cell, under a bar or, without a terminal, a line for each."""
    missing, labels = _missing(cells, directory.rows(cells)), _labels(cells)
    count = f"{len(cells)} cells, {len(missing)} to compute"
    print(f"{directory.path}: {count}", file=sys.stderr)
    if missing:
        directory.write_json("environment.json", environment())
    failed: dict[str, NumericalError] = {}
    with tqdm.tqdm(total=len(missing), disable=None) as bar:
        for number, cell in enumerate(missing, start=1):
            label, start = labels[cell.key], time.perf_counter()
            bar.set_description(label)
            try:
                row, arrays = experiment.compute(config, cell)
                seconds = round(time.perf_counter() - start, 3)
                directory.save(cell, {**row, "seconds": seconds}, arrays)
                done = f"{seconds:.1f} s"
            except NumericalError as error:
                failed[label], done = error, f"failed: {error}"
            bar.update()
            if bar.disable or label in failed:
                line = f"[{number}/{len(missing)}] {label} ({done})"
                bar.write(line, file=sys.stderr)
    if failed:
        label, error = next(iter(failed.items()))
        raise NumericalError(
            f"{len(failed)} of {len(cells)} cells failed; others are stored, and have "
            f"a table without these. The first: {label}: {error}"
        )


def _estimate(
    experiment: Experiment[C], config: C, cells: Sequence[Cell]
) -> float | None:
    """Returns the seconds that the cells will take, None if nothing tells."""
    if experiment.estimate is None:
        return None
    return sum(experiment.estimate(config, cell) for cell in cells)


def _print_plan(
    cells: Sequence[Cell], missing: Sequence[Cell], seconds: float | None
) -> None:
    labels, lacking = _labels(cells), {cell.key for cell in missing}
    for cell in cells:
        state = "missing " if cell.key in lacking else "computed"
        print(f"{state}  {cell.key}  {labels[cell.key]}")
    cost = "" if seconds is None else f", about {seconds:.0f} s"
    print(f"{len(cells)} cells, {len(missing)} to compute{cost}")


def _draw(
    experiment: Experiment[C], rows: Sequence[Row], directory: RunDirectory
) -> None:
    import matplotlib

    from ntk_corrupt import plots

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # chatty under absl
    with matplotlib.rc_context(plots.style()):
        figure = experiment.figure(directory, rows)
        for kind, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
            with directory.new_file(f"figures/{experiment.name}.{kind}") as file:
                figure.savefig(file, format=kind, metadata=metadata)
            figure.set_layout_engine("none")  # it is laid out, which takes longest
    print(f"figure: {directory.path}/figures/{experiment.name}.png and .pdf")


def main(experiment: Experiment[C]) -> None:
    """Runs a script: flags, presets, `execute`, exit status."""

    def run(argv):
        if argv[1:]:
            raise flags.Error(f"settings are given as --name=value, got {argv[1]!r}.")
        config, options = read_flags(experiment)
        jax.config.update("jax_enable_x64", options.x64)
        compilation.use_cache()
        if options.preset == "smoke":  # it does little but compile
            compilation.compile_quickly()
        execute(
            experiment,
            config,
            workdir=options.workdir or f"results/{experiment.name}",
            overwrite=options.overwrite,
            dry_run=options.dry_run,
        )

    interrupts.watch()
    terminal.prepare()
    define_flags(experiment)
    known = settings.may_be_none(experiment.config) | settings.may_be_none(Options)
    with endings.one_line_errors(known):
        try:
            app.run(run, flags_parser=flags.FLAGS)
        finally:
            sys.stdout.flush()  # here, where a closed pipe is known
