"""Scripts that start quickly."""

import multiprocessing
import multiprocessing.forkserver
import os
import sys

import fake_experiment
import pytest
from fake_experiment import script
from run_scripts import without_cache


@pytest.fixture(scope="module")
def start():
    """Starts scripts, of a server that has imported once what all of them import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([fake_experiment.__name__])
    with pytest.MonkeyPatch().context() as patch:
        patch.delenv("JAX_COMPILATION_CACHE_DIR")
        # of its own the server ignores modules that it does not find
        path = {"PYTHONPATH": os.pathsep.join(sys.path)}
        for name, value in (without_cache() | path).items():
            patch.setenv(name, value)
        multiprocessing.forkserver.ensure_running()

    def run(cwd, *arguments):
        process = context.Process(target=script, args=(cwd, arguments))
        process.start()
        return process

    return run
