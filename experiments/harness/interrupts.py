"""Ctrl-C ends a script within seconds, whatever it is doing.

Python raises KeyboardInterrupt in the main thread once that runs Python: not before a
compiled program returns, and in vain inside a callback of the garbage collector (JAX
has one) or a finaliser, where it is printed and forgotten. So a thread looks on. What a
kill leaves is sound, `run_directory`, and so is what it leaves.
"""

import os
import signal
import sys
import threading
import time
from typing import Any

STATUS = 130
_PATIENCE = 2.0  # seconds for Python's own way

asked = threading.Event()
_said = threading.Event()


def _before_it_begins(_signal: int, _frame: Any) -> None:
    print("interrupted before anything was run.", file=sys.stderr, flush=True)
    os._exit(STATUS)


# Imports take seconds, and one that is interrupted in its C code may crash, hang or go
# on. So `python -m experiments.NAME`, which is called so while it is looked for, ends
# without an exception until `watch` takes over; who imports this is not touched.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, _before_it_begins)


def watch() -> None:
    """Ends the process some time after an interrupt that did not. Main thread only."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a job in the background
        return
    signal.signal(signal.SIGINT, _once)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_look_on, args=(reader,), daemon=True).start()


def _once(_signal: int, _frame: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # let the first one end in peace
    sys.unraisablehook = lambda _: None  # `_look_on` does what is forgotten there
    raise KeyboardInterrupt


def _look_on(reader: int) -> None:
    while signal.SIGINT not in os.read(reader, 1):
        pass
    asked.set()
    time.sleep(_PATIENCE)
    if not _said.is_set():
        say()
    os._exit(STATUS)


def say() -> None:
    """Says that the run was interrupted, and how to go on."""
    _said.set()
    print(
        "interrupted: finished cells are stored, the same command without --overwrite "
        "computes the rest.",
        file=sys.stderr,
        flush=True,
    )
