"""Shared switches: float64 on, ranks never promoted silently, programs forgotten."""

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Drops what a module has compiled.

    Every program holds memory maps; a process that keeps thousands of them crashes
    inside the compiler, at the limit that Linux sets to maps.
    """
    yield
    jax.clear_caches()
