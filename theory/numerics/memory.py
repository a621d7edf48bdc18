"""How much memory and cache there is, and whether what is asked fits."""

import functools
import os
import pathlib

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


_CACHES = pathlib.Path("/sys/devices/system/cpu/cpu0/cache")
_CACHE = 2**20  # bytes of a core's second-level cache, where nothing tells
_DEVICE = 2**34  # bytes of an accelerator's memory, where nothing tells
# Kernels that an accelerator starts for a block, seconds that each takes to start, and
# the part of the time that all of them may take. 5 us: launch latency of CUDA kernels.
_STARTED, _STARTING, _OVERHEAD = 20, 5e-6, 0.1
# Seconds in which an accelerator can read its whole memory, by the data sheets: V100
# .018 (16 GB) and .036 (32), A100 .026 (40) and .039 (80), H100 .024, H200 .029, TPU v4
# .027, v5e .020.
_READING = 0.03


@functools.cache
def _second_level() -> int:
    """Bytes of one core's cache of the second level."""
    units = {"K": 2**10, "M": 2**20}
    try:
        for index in _CACHES.glob("index*"):
            if (index / "level").read_text().strip() == "2":
                size = (index / "size").read_text().strip()
                return int(size[:-1]) * units[size[-1]]
    except (OSError, ValueError, KeyError, IndexError):
        pass
    return _CACHE


def _cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def block_bytes() -> int:
    """Returns how many bytes should be worked on at once on the default device.

    On a processor what the second-level caches of its cores hold together: elementwise
    work that stays there does not wait for memory. An accelerator has to start some 20
    kernels for a block, which is a tenth of the time or less if the block moves 1 ms
    worth of its bandwidth; as all of them read their memory in some 30 ms, that is a
    thirtieth of it.
    """
    device = jax.devices()[0]
    if device.platform == "cpu":
        return _cores() * _second_level()
    whole = (device.memory_stats() or {}).get("bytes_limit", _DEVICE)
    return int(whole * _STARTED * _STARTING / _OVERHEAD / _READING)


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
