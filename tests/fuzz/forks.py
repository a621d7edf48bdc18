"""Scripts in forks of this process, which has imported all that they need."""

import collections
import contextlib
import importlib
import os
import signal
import sys
import threading
import time
import traceback

import fake_experiment
from jax._src import xla_bridge

from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory

# Cells that take no time: most of such a run is writing.
MORE = collections.defaultdict(list, fake=["--p=.1,.2,.3,.4,.5,.6,.7,.8,.9"])
EARLY = 99  # status of an interrupt that came before the script began


def experiment(name):
    if name == "fake":
        return fake_experiment.EXPERIMENT
    return importlib.import_module(f"experiments.{name}").EXPERIMENT


class Child:
    """A run of a script in a fork of this process; its lines go to `out`."""

    def __init__(self, name, workdir, out, before=lambda: None):
        assert not xla_bridge.backends_are_initialized()
        self.out, found = out, experiment(name)
        out.write_text("")
        self.pid = os.fork()
        if self.pid:
            return
        try:
            for number in (1, 2):
                os.dup2(os.open(out, os.O_WRONLY | os.O_APPEND), number)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.argv = [name, "--preset=smoke", f"--workdir={workdir}", *MORE[name]]
            before()
            os.write(2, b"begun\n")
            runner.main(found)
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(int(end.code or 0))
        except KeyboardInterrupt:
            os._exit(EARLY)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def ended(self, seconds):
        """Waits; the status, negative for a signal, or None after so many seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        return None

    def kill(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def near_a_write(rng):
    """Makes a run kill itself within milliseconds of one of its writes."""
    left, delay = [int(rng.integers(1, 30))], float(rng.uniform(0, 0.008))
    if rng.random() < 0.3:
        delay = 0.0

    def arm():
        def counted(write):
            def wrapped(*arguments, **options):
                left[0] -= 1
                if not left[0]:
                    kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
                    threading.Timer(delay, kill).start()
                return write(*arguments, **options)

            return wrapped

        for name in ("new_file", "_append", "save", "_remove_remains", "discard"):
            setattr(RunDirectory, name, counted(getattr(RunDirectory, name)))
        os.replace, os.fsync = counted(os.replace), counted(os.fsync)

    return arm
