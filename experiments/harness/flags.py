"""Settings as records whose fields are flags: how they are declared and read."""

import dataclasses
import types
import typing
from typing import Any

from absl import flags


def setting(default: Any, help: str) -> Any:
    """Returns a field of a `Config`, with the help of its flag."""
    return dataclasses.field(default=default, metadata={"help": help})


def fixed(default: Any) -> Any:
    """Returns a field of a `Config` that is no flag.

    For what a script sets itself, cell by cell, or leaves as it is: a flag that decides
    nothing must not be there.
    """
    return dataclasses.field(default=default)


def settable(record: Any) -> list[dataclasses.Field]:
    """Returns the fields that are flags."""
    return [field for field in dataclasses.fields(record) if "help" in field.metadata]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of every experiment; a script adds its own in a subclass.

    A field made by `setting` is a flag: int, float, bool, str, a tuple of one of them
    such as `tuple[float, ...]`, or one of these `| None`.
    """

    seed: int = setting(0, "decides every random number")
    data_dir: str | None = setting(None, "folder that holds data sets")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The flags that decide how to run, not what comes out."""

    workdir: str | None = setting(None, "run directory; none is results/NAME")
    preset: str = setting("cpu", "smoke (seconds), cpu (minutes) or paper (the source)")
    x64: bool = setting(True, "whether the theory runs in float64")
    overwrite: bool = setting(False, "discard the cells asked for, compute them again")
    dry_run: bool = setting(False, "list the cells and their cost, compute nothing")


class Parser(flags.ArgumentParser):
    """Reads the text of a flag as the type of a field."""

    def __init__(self, hint):
        """Takes the type hint of a field: a scalar, a tuple of it, or none too."""
        kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else [hint]
        self.optional = types.NoneType in kinds
        (kind,) = set(kinds) - {types.NoneType}
        self.many = typing.get_origin(kind) is tuple
        self.kind = typing.get_args(kind)[0] if self.many else kind
        nouns = {int: "an integer", float: "a number", bool: "true or false"}
        several = " or several with commas between" * self.many
        none = " or none" * self.optional
        self.syntactic_help = nouns.get(self.kind, "a name") + several + none

    def parse(self, argument):
        """Returns the value that a text stands for; absl tells what is wrong."""
        if self.optional and argument == "none":
            return None
        texts = [t.strip() for t in argument.split(",")] if self.many else [argument]
        truth = {"true": True, "false": False}
        read = self.kind if self.kind is not bool else lambda t: truth[t.lower()]
        try:
            values = [read(text) for text in texts]
        except (KeyError, ValueError):
            values = [""]
        if any(value == "" or value != value for value in values):  # NaN too
            raise ValueError(f"must be {self.syntactic_help}, got {argument!r}.")
        return tuple(values) if self.many else values[0]
