"""What a script says on the terminal: in any encoding, in words of the command line."""

import codecs
import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Collection

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


def in_flags(message: str, names: Collection[str]) -> str:
    """Returns the message with arguments that are flags called as flags are.

    `depth` becomes `--depth`, and the advice b_var=0 becomes --b_var=0.
    """
    some = "|".join(map(re.escape, names))
    if not some:
        return message
    message = re.sub(rf"`({some})`", r"`--\1`", message)
    return re.sub(rf"(?<![\w.(-])({some})=(?=[\w'.])", r"--\1=", message)
