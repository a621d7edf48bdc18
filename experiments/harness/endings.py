"""How a script ends where the user, not the program, can help: one line, a status."""

import contextlib
import sys
import types
from collections.abc import Generator, Mapping

import jax
from absl import flags

from experiments.harness import interrupts, terminal
from theory.errors import InputError, NumericalError


@contextlib.contextmanager
def one_line_errors(
    known: Mapping[str, bool] = types.MappingProxyType({}),
) -> Generator[None, None, None]:
    """Ends the process with one line: status 2, 130 of an interrupt, 141 of a pipe.

    `known` are the names of the flags, and whether each may be none.
    """
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        # other libraries wrap an interrupt in errors of their own
        if isinstance(error, KeyboardInterrupt) or interrupts.asked.is_set():
            interrupts.say()
            sys.exit(interrupts.STATUS)
        if isinstance(error, BrokenPipeError):  # the reader has what it wanted
            terminal.close_output()
            sys.exit(141)
        message = _message(error, known)
        if message is None:
            raise
    print("error:", *message.split(), file=sys.stderr)
    sys.exit(2)


def _message(error: Exception, known: Mapping[str, bool]) -> str | None:
    """What to tell the user, None of a bug."""
    if isinstance(error, InputError | NumericalError | flags.Error):
        return terminal.in_flags(str(error), known)
    if "Unable to initialize backend" in str(error):
        return f"JAX_PLATFORMS must name a device that there is: {error}"
    of_jax = isinstance(error, jax.errors.JaxRuntimeError)
    if isinstance(error, MemoryError) or (of_jax and "RESOURCE_EXH" in str(error)):
        return f"out of memory, ask for smaller sizes: {error}"
    return None
