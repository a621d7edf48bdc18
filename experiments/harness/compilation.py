"""How programs are compiled: unoptimised where values alone count, and kept."""

import contextlib
import os
import pathlib
import warnings

import jax
import jaxlib

# What else halves the time to compile, by version of jaxlib, where it was tried: a
# process ends at a flag that it does not know.
_QUICK = {
    "0.10.": (
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_cpu_use_fusion_emitters=false",
    )
}


def compile_quickly() -> None:
    """Compiles without optimising, here and in the processes that are started here.

    To be called before anything is computed. Numbers change by rounding; time to run,
    which is little in smoke runs and tests, up to threefold.
    """
    name = "jax_disable_most_optimizations"
    jax.config.update(name, True)
    os.environ[name.upper()] = "1"
    for version, own in _QUICK.items():
        if jaxlib.__version__.startswith(version):
            flags = [os.environ.get("XLA_FLAGS", ""), *own]
            os.environ["XLA_FLAGS"] = " ".join(flags).strip()


def use_cache() -> None:
    """Keeps compiled programs in the user's cache directory, where there is one."""
    if jax.config.jax_compilation_cache_dir:  # ty: ignore[missing-attribute]
        return
    with contextlib.suppress(OSError, RuntimeError):  # read-only, or no home
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        cache = cache.expanduser() / "ntk-corrupt" / "jax"
        cache.mkdir(parents=True, exist_ok=True)
        if os.access(cache, os.W_OK):
            jax.config.update("jax_compilation_cache_dir", str(cache))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # An entry torn by a kill is compiled again; its owner need not hear of it.
    warnings.filterwarnings("ignore", "Error reading persistent compilation cache")
