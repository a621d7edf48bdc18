"""The page of a run directory, report.html: what the terminal shows, to look at later.

One file with the picture, the table, settings, environment and command in it, whole or
absent like all that a run writes.
"""

import contextlib
import shlex
from collections.abc import Sequence
from typing import Any

from experiments.harness import flags
from experiments.harness.run_directory import RunDirectory
from experiments.report import pages
from experiments.report.questions import question

NAME = "report.html"


def write(
    directory: RunDirectory,
    experiment: Any,
    config: Any,
    table: str,
    *,
    missing: Sequence[str] = (),
    why: str = "",
) -> None:
    """Writes the report of a run, beside its rows.

    Args:
        directory: of the run, open for writing.
        experiment: the `runner.Experiment`.
        config: its settings.
        table: what the terminal shows.
        missing: cells that were asked for and failed, as the terminal calls them.
        why: what kept the first of them.
    """
    name = experiment.name
    body = [f"<h1>{pages.text(name)}</h1>"]
    with contextlib.suppress(OSError):  # no script of the menu
        body.append(f"<p>{pages.text(question(name))}</p>")
    if missing:
        lines = "\n".join(f"failed: {each}" for each in missing)
        body.append(
            pages.section(
                f"Missing: {len(missing)} cells",
                f"<p>{pages.text(why)}</p>",
                pages.table(lines),
            )
        )
    png = directory.content(f"figures/{name}.png")
    if png is not None and not missing:  # else of a run before
        body.append(pages.section("Picture", pages.picture(png, f"figure of {name}")))
    if table:
        body.append(pages.section("Table", pages.table(table)))
    environment = directory.read_json("environment.json") or {}
    body += [
        pages.section("Command", pages.table(command(directory, experiment, config))),
        pages.section("Settings", pages.pairs(_settings(config))),
        pages.section(
            "Environment",
            pages.pairs(
                (key, flags.written(value), None) for key, value in environment.items()
            ),
        ),
    ]
    with directory.new_file(NAME) as file:
        file.write(pages.page(f"{name}: {directory.path.name}", body).encode())


def command(directory: RunDirectory, experiment: Any, config: Any) -> str:
    """Returns the command that asks for these settings, in this directory."""
    given = [
        flags.argument(field.name, getattr(config, field.name))
        for field in flags.settable(config)
        if getattr(config, field.name) != field.default
    ]
    workdir = flags.argument("workdir", directory.path)
    environment = directory.read_json("environment.json") or {}
    given += ["--nox64"] * (environment.get("x64") is False)
    return shlex.join(
        ["python", "-m", f"experiments.{experiment.name}", workdir, *given]
    )


def _settings(config: Any) -> list[tuple[str, str, str]]:
    """Name, value and default of every flag, as they are given."""
    return [
        (
            field.name,
            flags.written(getattr(config, field.name)),
            flags.written(field.default),
        )
        for field in sorted(flags.settable(config), key=lambda field: field.name)
    ]
