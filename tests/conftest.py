"""Shared switches: float64 on, ranks never promoted silently; what programs cost.

Compilation is most of the time of the suite: both workers share compiled programs, and
programs are compiled in half the time, to run slower. `--optimised` compiles them as a
user's are: `make portable` and `make test-all` do.
"""

import os
import pathlib
import tempfile

import jax
import pytest

from experiments.harness.compilation import compile_quickly

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Of Linux; it allows a process 65 530 of them unless told otherwise.
_MAPS, _MOST_MAPS = pathlib.Path("/proc/self/maps"), 40_000


def pytest_addoption(parser):
    parser.addoption(
        "--optimised", action="store_true", help="compile programs as for users"
    )


def pytest_configure(config):
    """Compiled programs are kept for this run, for its workers and their processes."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="compiled-")
        config.add_cleanup(folder.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
        if not config.getoption("optimised"):
            compile_quickly()  # workers inherit it
    jax.config.update(
        "jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"]
    )
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Drops compiled programs, when there are many.

    Each holds memory maps, of which one process has had 55 000 after one file; where
    they reach the limit it crashes inside the compiler.
    """
    yield
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()


WEEKLY = tuple(
    line
    for line in (pathlib.Path(__file__).parent / "weekly.txt").read_text().splitlines()
    if line and not line.startswith("#")
)


@pytest.hookimpl(tryfirst=True)  # before `-m` is looked at
def pytest_collection_modifyitems(items):
    """Marks what is run weekly for the time that it takes."""
    for item in items:
        if item.nodeid.startswith(WEEKLY):
            item.add_marker(pytest.mark.slow)
