"""Shared switches: float64 on, ranks never promoted silently, programs forgotten."""

import pathlib

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Of Linux; it allows a process 65 530 of them unless told otherwise.
_MAPS, _MOST_MAPS = pathlib.Path("/proc/self/maps"), 40_000


@pytest.fixture(autouse=True)
def forget_programs():
    """Drops compiled programs, when there are many.

    Each holds memory maps: after `test_resummed.py` alone a process has 55 000, and
    where they reach the limit it crashes inside the compiler.
    """
    yield
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()
