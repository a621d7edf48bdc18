"""Whether only a plan is made: then no data are read."""

import contextlib
import contextvars
from collections.abc import Generator

_ACTIVE = contextvars.ContextVar("planning", default=False)


def active() -> bool:
    """Tells whether only a plan is made."""
    return _ACTIVE.get()


@contextlib.contextmanager
def planning(active: bool) -> Generator[None, None, None]:
    """Makes only a plan inside, if `active`."""
    token = _ACTIVE.set(active)
    try:
        yield
    finally:
        _ACTIVE.reset(token)
