"""An index of runs side by side: `python -m experiments.report DIR...`.

Reads what the run directories hold, without JAX; it links their reports and pictures,
by paths from where the index is.
"""

import argparse
import datetime
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import pages
from experiments.report.questions import question

REPORT = "report.html"


def _json(path: pathlib.Path) -> dict[str, Any]:
    """What a small file holds, nothing where there is none or it is damaged."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _facts(directory: pathlib.Path) -> dict[str, str]:
    """What is told of every run, whatever the experiment."""
    environment = _json(directory / "environment.json")
    rows = directory / "metrics.jsonl"
    count, when = 0, "-"
    if rows.is_file():
        count = sum(line.endswith(b"\n") for line in rows.open("rb"))
        stamp = datetime.datetime.fromtimestamp(rows.stat().st_mtime)
        when = f"{stamp:%Y-%m-%d %H:%M}"
    commit = str(environment.get("commit") or "-")[:10]
    dirty = " and changes" if environment.get("dirty") else ""
    return {
        "cells": str(count),
        "last written": when,
        "commit": f"{commit}{dirty}",
        "jax": str(environment.get("jax", "-")),
        "device": str(environment.get("device", "-")),
    }


def _card(directory: pathlib.Path, root: pathlib.Path) -> str:
    """A run: its name, its question, its picture; what is missing is said."""
    name = _json(directory / "config.json").get("experiment")
    lines = [f"<h2>{pages.text(directory.name)}</h2>"]
    try:
        asked = f"{name}: {question(str(name))}"
    except OSError:
        asked = str(name or "no config.json: not a run")
    lines.append(f"<p class='quiet'>{pages.text(asked)}</p>")
    found, figure = directory / REPORT, directory / "figures" / f"{name}.png"
    to = lambda path: pages.text(os.path.relpath(path, root))
    image = f'<img alt="{pages.text(name)}" src="{to(figure)}">'
    if figure.is_file():
        inside = f'<a href="{to(found)}">{image}</a>' if found.is_file() else image
        lines.append(inside)
    if found.is_file():
        lines.append(f'<p><a href="{to(found)}">report</a></p>')
    else:
        again = "run the same command again: finished cells are not computed anew"
        lines.append(f"<p class='doubt'>no report yet: {again}</p>")
    return "\n".join(["<div>", *lines, "</div>"])


def index(directories: Sequence[pathlib.Path], root: pathlib.Path) -> str:
    """Returns the page of several runs: pictures, then what differs between them.

    Args:
        directories: of the runs.
        root: the folder that the page will lie in.
    """
    configs = [_json(directory / "config.json") for directory in directories]
    facts = [_facts(directory) for directory in directories]
    settings = dict.fromkeys(name for config in configs for name in config)
    told: list[tuple[str, Sequence[Mapping[str, Any]]]] = [
        *((name, configs) for name in settings),
        *((name, facts) for name in facts[0]),
    ]
    rows = []
    for name, records in told:
        values = [
            _written(record[name]) if name in record else "" for record in records
        ]
        if records is facts or len(set(values)) > 1:
            rows.append([pages.text(name), *map(pages.text, values)])
    head = ["", *(pages.text(directory.name) for directory in directories)]
    cards = [_card(directory, root) for directory in directories]
    body = [
        f"<h1>{len(directories)} run{'s' * (len(directories) > 1)}</h1>",
        "\n".join(['<div class="runs">', *cards, "</div>"]),
        pages.section("What differs", pages.grid(head, rows)),
    ]
    return pages.page("runs", body)


def _written(value: Any) -> str:
    """A setting as it is given on the command line."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def main(arguments: Sequence[str]) -> int:
    """Writes the index; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("directories", nargs="+", metavar="DIR", type=pathlib.Path)
    parser.add_argument("--output", default="index.html", type=pathlib.Path)
    asked = parser.parse_args(arguments)
    for directory in asked.directories:
        if not (directory / "config.json").is_file():
            print(
                f"error: {directory} must be a run directory, with a config.json.",
                file=sys.stderr,
            )
            return 2
    output = asked.output
    partial = output.with_name(f".{output.name}.partial")
    try:
        written = index(asked.directories, output.absolute().parent)
        partial.write_text(written, "utf-8")
        os.replace(partial, output)
    except OSError as error:
        print(f"error: {output} cannot be written: {error.strerror}.", file=sys.stderr)
        return 2
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
