"""How much memory there is, and whether what is asked fits."""

import os

import jax
from jax.sharding import Mesh

from theory.errors import InputError


def available_bytes() -> int | None:
    """Returns the memory free on the default device, None where nothing tells."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def check_memory(needed: int, what: str, way_out: str) -> None:
    """Raises `InputError` if `needed` bytes do not fit, before anything is allocated.

    Args:
        needed: bytes.
        what: what takes them, as the subject of a sentence.
        way_out: what the user can do instead.
    """
    free = available_bytes()
    if free is not None and needed > free:
        raise InputError(
            f"{what} needs {needed / 2**30:.3g} GiB and {free / 2**30:.3g} GiB are "
            f"free: {way_out}."
        )


def share(mesh: Mesh | None) -> float:
    """Returns what part of a matrix, split over a mesh, `available_bytes` must hold."""
    if mesh is None:
        return 1.0
    devices = mesh.devices.ravel()
    # the devices of a processor share its memory
    own = len(mesh.local_devices) if devices[0].platform == "cpu" else 1
    return own / len(devices)
