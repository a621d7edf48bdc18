"""The two errors a user meets, and how an unknown name is reported.

`InputError` is bad input: one line that names the argument, what it must be, what
it got and the fix. `NumericalError` is arithmetic that cannot be trusted. Scripts
print either as one line and exit with status 2; any other exception is a bug.
"""

import difflib
import numbers
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: one line naming the argument, what it must be and what it got."""


class NumericalError(ArithmeticError):
    """A number that cannot be trusted: one line with its cause and the way out."""


def unknown(what: str, name: object, valid: Iterable[str]) -> InputError:
    """Returns the error for an unknown `name`, with the nearest valid ones first."""
    valid = sorted(valid)
    near = difflib.get_close_matches(str(name), valid, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return InputError(f"unknown {what} {name!r}: {hint}valid are {', '.join(valid)}.")


def check_count(name: str, value: object, least: int = 1) -> None:
    """Raises `InputError` unless `value` is an integer of at least `least`.

    And below 2^31: JAX counts entries of axes, and draws, so far.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or int(value) < least:
        raise InputError(
            f"`{name}` must be an integer of at least {least}, got {value!r}."
        )
    if int(value) >= 2**31:
        raise InputError(f"`{name}` must be below 2^31, got {value}.")
