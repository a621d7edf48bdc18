"""What a script says on the terminal: in any encoding, in words of the command line."""

import codecs
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Mapping

# What tables write and an encoding may lack.
_PLAIN = {"±": "+-"}


def prepare() -> None:
    """Lets any text be printed in any encoding, and JAX keep its notes to itself."""
    codecs.register_error("ntk_plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is something else
            stream.reconfigure(errors="ntk_plain")
    # which accelerators there are not, and the like
    for name in ("jax._src.xla_bridge", "jax._src.compiler", "jax._src.dispatch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", module="jax._src.xla_bridge")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """An error handler of `codecs`: writes in ASCII what the encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escaped = (
        _PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode()
        for letter in text
    )
    return "".join(escaped), error.end


def close_output() -> None:
    """Sends what is still to be printed nowhere, as nobody reads it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# What messages of the library call a flag otherwise.
_WORDS = {"data set": "dataset", "normalisation": "normalise"}


def in_flags(message: str, flags: Mapping[str, bool]) -> str:
    """Returns a message of the library in words of the command line.

    `depth` becomes `--depth`, the advice b_var=0 becomes --b_var=0, and what no flag
    can give is advice for Python.

    Args:
        message: about arguments.
        flags: their names, and whether each may be none.
    """

    def name(match: re.Match) -> str:
        before, word, none = match.groups()
        if word not in flags or (none and not flags[word]):
            return f"in Python {match[0]}" if before or none else match[0]
        return f"{before}`--{word}{'=none' if none else ''}"

    def named(match: re.Match) -> str:
        word = _WORDS.get(match[1], match[1].replace(" ", "_"))
        return f"unknown --{word} '" if word in flags else match[0]

    message = message.removeprefix("ERROR:: ").replace(
        "enable x64", "leave out --nox64"
    )
    message = re.sub(r"^unknown ([a-z ]+) '", named, message)
    message = re.sub(r"((?:\b(?:pass|raise|lower|set) )?)`(\w+)(=None)?", name, message)
    some = "|".join(map(re.escape, flags)) or r"\b\B"
    return re.sub(rf"(?<![\w.(-])({some})=(?=[\d'])", r"--\1=", message)
