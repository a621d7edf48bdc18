"""What the numbers of a run are computed with."""

import importlib.metadata
import pathlib
import platform
import subprocess
from typing import Any


def environment() -> dict[str, Any]:
    """Returns what the numbers are computed with: commit, versions, device, x64."""
    import jax

    packages = ("ntk-corrupt", "jax", "jaxlib", "flax", "numpy")
    return {
        **_commit(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "x64": jax.config.jax_enable_x64,  # ty: ignore[missing-attribute]
    }


def _commit() -> dict[str, Any]:
    """Returns the commit of this file's checkout; None where it is in none."""
    here = pathlib.Path(__file__)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.check_output(
            command, stderr=subprocess.DEVNULL, text=True, timeout=10
        ).strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # not some checkout around .venv
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "-s"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
