"""What every experiment shares: flags, presets, the run directory, one-line errors.

A script declares its `Config`, a few plain functions and an `Experiment` of them, and
ends in `runner.main(EXPERIMENT)`. Each `setting` of `Config` is a flag; flags are
defined and read in `main` alone, so that scripts import without side effects. `execute`
does the work, and is what tests and notebooks call.
"""

import dataclasses
import functools
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import jax
from absl import app, flags

from experiments.harness import (
    compilation,
    computing,
    endings,
    help,
    interrupts,
    jobs,
    planning,
    quick_help,
    run_report,
    shards,
    sizes,
    terminal,
)
from experiments.harness import flags as settings
from experiments.harness.caveats import caveats, with_nan
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

_OF_JOBS = ("workdir", "preset", "x64")  # run options that jobs are given too


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
    shard: shards.Shard | None = None,
    cluster: jobs.Cluster | None = None,
) -> list[Row]:
    """Computes the cells that `workdir` lacks, then tabulates and draws all asked for.

    Whether x64 is on decides numbers too, so it joins the settings of every cell.

    Args:
        experiment: what to compute.
        config: its settings.
        workdir: the run directory; created unless the settings are bad.
        overwrite: discard the cells asked for first.
        dry_run: print what there is and what is missing; write nothing.
        shard: compute this part of what is missing alone, for a run without a shard
            to take up, and show nothing.
        cluster: where jobs compute the cells, each a shard; None is here.

    Returns:
        The rows of the cells asked for, in the order of `experiment.cells`.
    """
    if not 0 <= config.seed < 2**31:
        raise InputError(f"`--seed` must be in 0 ... 2^31 - 1, got {config.seed}.")
    if shard and overwrite:
        raise InputError("`--overwrite` must be left to the run, got it with --shard.")
    settings.check(config)
    with planning.planning(dry_run):
        return _execute(
            experiment,
            config,
            RunDirectory(workdir),
            overwrite=overwrite,
            dry_run=dry_run,
            shard=shard,
            cluster=cluster,
        )


def _execute(
    experiment: Experiment[C],
    config: C,
    directory: RunDirectory,
    *,
    overwrite: bool,
    dry_run: bool,
    shard: shards.Shard | None,
    cluster: jobs.Cluster | None,
) -> list[Row]:
    """`execute`, with a run directory and numbers that are in their ranges."""
    experiment.check(config)
    x64 = jax.config.jax_enable_x64  # ty: ignore[missing-attribute]
    asked = [Cell({**cell.settings, "x64": x64}) for cell in experiment.cells(config)]
    asked = list({cell.key: cell for cell in asked}.values())
    if not asked:
        raise InputError("settings must ask for one cell at least, got none.")
    _check_owner(experiment, directory)
    names = computing.labels(asked)  # before a shard leaves some out
    estimate = functools.partial(_estimate, experiment, config)
    if shard:  # jobs split alike: while they compute, nobody adds to the run
        lacking = computing.missing(asked, directory.rows(asked))
        asked = shards.split(lacking, estimate(lacking), shard.count)[shard.number - 1]
        directory = shard.directory(directory)
    rows = [] if overwrite else shards.rows(directory, asked)
    lacking = computing.missing(asked, rows)
    seconds = estimate(lacking)
    at_once = cluster.at_once(len(lacking)) if cluster else 1
    total = None if seconds is None else sum(seconds)
    sizes.check(config, lacking, total, at_once)
    if dry_run:
        parts = cluster.split(lacking, seconds) if cluster else ()
        computing.print_plan(asked, lacking, names, seconds, parts)
        return rows
    with directory.writing():
        check = functools.partial(_check_owner, experiment)
        take_up = functools.partial(shards.take_up, directory, check)
        take_up()
        if overwrite:
            directory.discard(asked)
        own = {"experiment": experiment.name, **dataclasses.asdict(config)}
        directory.write_json("config.json", own)
        report = functools.partial(run_report.write, directory, experiment, config)
        try:
            if cluster:
                cluster.compute(asked, directory, estimate, take_up, names)
            else:
                one = functools.partial(experiment.compute, config)
                computing.compute(asked, directory, one, names)
        except NumericalError as error:
            absent = computing.missing(asked, directory.rows(asked))
            if not shard:
                report("", missing=[names[cell.key] for cell in absent], why=str(error))
            raise
        rows = directory.rows(asked)
        if not shard:
            report(_show(experiment, rows, asked, directory, names))
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


def _estimate(
    experiment: Experiment[C], config: C, cells: Sequence[Cell]
) -> list[float] | None:
    """Returns the seconds that each cell will take, None if nothing tells."""
    if experiment.estimate is None:
        return None
    return [experiment.estimate(config, cell) for cell in cells]


def _show(
    experiment: Experiment,
    rows: Sequence[Row],
    asked: Sequence[Cell],
    directory: RunDirectory,
    names: Mapping[str, str],
) -> str:
    """Prints the table of the rows, with what it must not hide, and draws them.

    Returns what is printed.
    """
    numbers = with_nan(rows, asked)
    table = experiment.table(directory, numbers)
    shown = "\n".join([table, *caveats(rows, asked, names, table)])
    print(shown)
    _draw(experiment, numbers, directory)
    return shown


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
    print(f"report: {directory.path}/{run_report.NAME}")


def main(experiment: Experiment[C]) -> None:
    """Runs a script: flags, presets, `execute`, exit status."""

    def run(argv):
        if argv[1:]:
            raise flags.Error(f"settings are given as --name=value, got {argv[1]!r}.")
        config, options = read_flags(experiment)
        settings.check(options)
        command = (sys.argv[0], *settings.given(experiment, _OF_JOBS))
        shard = shards.Shard.read(options.shard) if options.shard else None
        cluster = jobs.Cluster.read(options, command)
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
            shard=shard,
            cluster=cluster,
        )

    interrupts.watch()
    terminal.prepare()
    define_flags(experiment)
    known = settings.may_be_none(experiment.config) | settings.may_be_none(Options)
    with endings.one_line_errors(known):
        try:
            if quick_help.asked(sys.argv[1:]):  # where `quick_help` did not answer
                print(help.text(experiment, sys.modules["__main__"].__doc__ or ""))
                return
            app.run(run, flags_parser=flags.FLAGS)
        finally:
            sys.stdout.flush()  # here, where a closed pipe is known
