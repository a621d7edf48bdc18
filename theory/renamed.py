"""Arguments under the name that they had a version ago: accepted, with a warning."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from theory.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


def renamed(old: str, new: str) -> Callable[[F], F]:
    """Lets a function, or a class, take the keyword `new` by the name `old` too.

    Raises:
        InputError: from what is decorated, on both names in one call.
    """

    def decorate(called: Any) -> Any:
        if isinstance(called, type):
            called.__init__ = _translating(old, new, called.__name__, called.__init__)
            return called
        return _translating(old, new, called.__name__, called)

    return decorate


def _translating(old: str, new: str, name: str, function: Callable) -> Callable:
    @functools.wraps(function)
    def translating(*args, **kwargs):
        if old in kwargs:
            if new in kwargs:
                raise InputError(
                    f"`{new}` and `{old}` of {name} are one: pass `{new}`."
                )
            warnings.warn(
                f"`{old}` of {name} is called `{new}` now.",
                DeprecationWarning,
                stacklevel=2,
            )
            kwargs[new] = kwargs.pop(old)
        return function(*args, **kwargs)

    return translating
