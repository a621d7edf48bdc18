"""What `--help` says: the question, the presets and what each changes, the flags."""

import dataclasses
import textwrap
import typing
from collections.abc import Mapping
from typing import Any

from experiments.harness import flags

_WIDTH = 80
_MEANT = {
    "smoke": "seconds: shows that all of it runs, its numbers mean nothing",
    "cpu": "unless told otherwise: the defaults below, seconds to an hour on two cores",
    "paper": "the source's setting",
}


def text(experiment: Any, about: str) -> str:
    """Returns the help of a script.

    Args:
        experiment: the `runner.Experiment`.
        about: the docstring of the script, whose lines are not indented.
    """
    settings, options = experiment.config, flags.Options
    lines = [about.strip(), "", "presets, by --preset, and what each sets:"]
    for name, changed in {"cpu": {}, **experiment.presets}.items():
        lines += _preset(name, changed, settings)
    for head, record in (("settings", settings), ("how it is run", options)):
        lines += ["", f"{head}:"]
        hints = typing.get_type_hints(record)
        for field in sorted(flags.settable(record), key=lambda field: field.name):
            lines += _flag(field, hints[field.name])
    return "\n".join(lines)


def _preset(name: str, changed: Mapping[str, Any], settings: Any) -> list[str]:
    """The name of a preset, what it is for, and the settings that it changes."""
    defaults = {field.name: field.default for field in flags.settable(settings)}
    texts = [
        flags.argument(each, value)
        for each, value in changed.items()
        if each not in defaults or value != defaults[each]
    ]
    meant = _MEANT.get(name, "")
    return [f"  {name}{': ' * bool(meant)}{meant}", *_indented(" ".join(texts))]


def _flag(field: dataclasses.Field, hint: Any) -> list[str]:
    """A flag and its default on a line, what it means below."""
    parser = flags.Parser(hint)
    spelt = f"--[no]{field.name}" if parser.kind is bool else f"--{field.name}"
    value = f"{parser.syntactic_help}; default {flags.written(field.default)}"
    return [f"  {spelt}  ({value})", *_indented(field.metadata["help"])]


def _indented(words: str) -> list[str]:
    """The words in lines, none of them parted."""
    return textwrap.wrap(
        words,
        _WIDTH,
        initial_indent=6 * " ",
        subsequent_indent=6 * " ",
        break_long_words=False,
        break_on_hyphens=False,
    )
