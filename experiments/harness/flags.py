"""Settings as records whose fields are flags: how they are declared, read, checked."""

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Sequence
from typing import Any

from absl import flags

from theory.errors import InputError

# Counts are traced as int32. Other numbers past this, and those closer to 0 than one
# over it, are infinite or 0 as float32 once they are multiplied.
_MOST: dict[type, float] = {int: 2**31 - 1, float: 1e15}


def setting(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    distinct: bool = True,
) -> Any:
    """Returns a field of a `Config`, with the help of its flag and what it may be.

    Args:
        default: value of the preset `cpu`.
        help: of the flag.
        least: the smallest number; none is 1 for integers, which count something, and 0
            for others.
        above: what a number must exceed, where it is no `least`.
        most: the largest number; none is what a device can hold.
        distinct: whether each entry of a tuple must differ from the others.
    """
    about = {"help": help, "least": least, "above": above, "most": most}
    return dataclasses.field(default=default, metadata={**about, "distinct": distinct})


def fixed(default: Any) -> Any:
    """Returns a field of a `Config` that is no flag.

    For what a script sets itself, cell by cell, or leaves as it is: a flag that decides
    nothing must not be there.
    """
    return dataclasses.field(default=default)


def settable(record: Any) -> list[dataclasses.Field]:
    """Returns the fields that are flags."""
    return [field for field in dataclasses.fields(record) if "help" in field.metadata]


def may_be_none(record: Any) -> dict[str, bool]:
    """Returns, for every flag of a record, whether its value may be none."""
    hints = typing.get_type_hints(record)
    return {f.name: Parser(hints[f.name]).optional for f in settable(record)}


def check(config: Any) -> None:
    """Raises `InputError` on a number out of its range, or a tuple that repeats."""
    hints = typing.get_type_hints(type(config))
    for field in settable(config):
        value, kind = getattr(config, field.name), Parser(hints[field.name]).kind
        values = value if isinstance(value, tuple) else (value,)
        for each in values:
            if kind in _MOST and each is not None:
                _check_range(field, kind, each)
        if field.metadata["distinct"] and len(set(values)) < len(values):
            twice = next(each for each in values if values.count(each) > 1)
            raise InputError(
                f"`--{field.name}` must be different ones, got {twice} more than once."
            )


def _check_range(field: dataclasses.Field, kind: type, value: float) -> None:
    """Raises `InputError` unless a number is in the range of its field."""
    least, above, most = (field.metadata[name] for name in ("least", "above", "most"))
    if least is None:
        least = 1 if kind is int else 0
    if most is None:
        most = _MOST[kind]
    if not math.isfinite(value):
        rule = "finite"
    elif 0 < value < 1 / _MOST[float]:
        rule = f"0 or at least {1 / _MOST[float]:.0e}"
    elif above is not None and not value > above:
        rule = "positive" if above == 0 else f"above {above}"
    elif above is None and not value >= least:
        rule = f"at least {least}"
    elif not value <= most:
        rule = f"at most {most:.10g}"
    else:
        return
    raise InputError(f"`--{field.name}` must be {rule}, got {value}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of every experiment; a script adds its own in a subclass.

    A field made by `setting` is a flag: int, float, bool, str, a tuple of one of them
    such as `tuple[float, ...]`, or one of these `| None`.
    """

    seed: int = setting(0, "decides every random number", least=0)
    data_dir: str | None = setting(None, "folder that holds data sets")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The flags that decide how to run, not what comes out."""

    workdir: str | None = setting(None, "run directory; none is results/NAME")
    preset: str = setting(
        "cpu",
        "smoke (seconds), cpu (minutes), paper (the source) or another of the script",
    )
    x64: bool = setting(True, "whether the theory runs in float64")
    overwrite: bool = setting(False, "discard the cells asked for, compute them again")
    dry_run: bool = setting(False, "list the cells and their cost, compute nothing")
    cluster: str | None = setting(None, "have jobs compute the cells: slurm or local")
    jobs: int | None = setting(None, "how many jobs share the cells", most=1000)
    cluster_options: str | None = setting(
        None, "of each job, as sbatch names them: 'time=60 partition=gpu'; in minutes"
    )
    shard: str | None = setting(
        None, "I/N: compute the I-th of N parts, for a later run without it to take up"
    )


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


class _Once(flags.Flag):
    """A flag that may be given once: of two values one would be ignored."""

    def parse(self, argument):
        """Reads the value; refuses a second one."""
        if self.present:
            raise flags.IllegalFlagValueError(
                f"flag --{self.name}={argument}: must be given once, not twice."
            )
        super().parse(argument)


class _OnceBoolean(_Once, flags.BooleanFlag):
    """The same, also spelt --name and --noname."""


def _flag(field: dataclasses.Field, hint: Any) -> flags.Flag:
    """Returns the flag of a field with this type hint; without a value it is None."""
    parser = Parser(hint)
    text = f"{field.metadata['help']} (default {written(field.default)})"
    if parser.kind is not bool or parser.many:
        return _Once(parser, None, field.name, None, text)
    flag = _OnceBoolean(field.name, None, text)
    flag.parser = parser
    return flag


def define_flags(experiment: Any, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines a flag for every field of the settings and of the run options."""
    for record in (experiment.config, Options):
        hints = typing.get_type_hints(record)
        for field in settable(record):
            flag = _flag(field, hints[field.name])
            flags.DEFINE_flag(flag, flag_values)
            flag_values.register_key_flag_for_module(sys.argv[0], flag)  # for --help


def given(
    experiment: Any, options: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS
) -> list[str]:
    """Returns the flags of settings that were given, and these of the run options."""
    names = [*(field.name for field in settable(experiment.config)), *options]
    present = (flag_values[name] for name in names if flag_values[name].present)
    return [argument(flag.name, flag.value) for flag in present]


def argument(name: str, value: Any) -> str:
    """Returns a setting as it is given on the command line."""
    return f"--{name}={written(value)}"


def written(value: Any) -> str:
    """Returns the value of a setting as `Parser` reads it."""
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def read_flags(
    experiment: Any, flag_values: flags.FlagValues = flags.FLAGS
) -> tuple[Any, Options]:
    """Returns the settings, explicit flags before the preset's, and the run options."""

    def explicit(record: Any) -> dict[str, Any]:
        names = [field.name for field in settable(record)]
        return {n: flag_values[n].value for n in names if flag_values[n].present}

    options = Options(**explicit(Options))
    return experiment.configure(options.preset, **explicit(experiment.config)), options
