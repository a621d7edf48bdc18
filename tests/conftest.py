"""Shared switches: float64 on, ranks never promoted silently; what programs cost.

Compilation is most of the time of the suite. Both workers share compiled programs, and
tests of small sizes that need many of them ask for `quick_compilation`.
"""

import os
import pathlib
import tempfile

import jax
import jaxlib
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Of Linux; it allows a process 65 530 of them unless told otherwise.
_MAPS, _MOST_MAPS = pathlib.Path("/proc/self/maps"), 40_000


def pytest_configure(config):
    """Compiled programs are kept for this run, for its workers and their processes."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="compiled-")
        config.add_cleanup(folder.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
        # A quarter of the compilation of a law. A process ends at a flag that it does
        # not know: only where it was tried.
        if jaxlib.__version__.startswith("0.10."):
            own = "--xla_cpu_use_fusion_emitters=false"
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {own}".strip()
    jax.config.update(
        "jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"]
    )
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(scope="module")
def quick_compilation():
    """Programs of this module are compiled in half the time, and run slower."""
    name = "jax_disable_most_optimizations"
    jax.config.update(name, True)
    os.environ[name.upper()] = "1"
    yield
    jax.config.update(name, False)
    del os.environ[name.upper()]


@pytest.fixture(autouse=True)
def forget_programs():
    """Drops compiled programs, when there are many.

    Each holds memory maps: after `test_resummed.py` alone a process has 55 000, and
    where they reach the limit it crashes inside the compiler.
    """
    yield
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()
