"""What all benchmarks print alike: the machine, and sides timed in turns."""

import os
import pathlib
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from theory.numerics import memory

Side = Callable[[], Any]


def machine() -> str:
    """Returns the processor, what it can do, the devices and the versions."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    except OSError:
        pass
    wide = next((each for each in ("avx512f", "avx2", "avx") if each in flags), "")
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "?"
    return (
        f"{name} ({wide or 'vector instructions unknown'}), {cores} cores, blocks of "
        f"{memory.block_bytes() / 2**20:.3g} MiB; {device.device_kind}, jax "
        f"{jax.__version__}, Python {platform.python_version()}"
    )


def load() -> float:
    """Returns how many processes wanted to run in the last minute, this one too."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def seconds(side: Side) -> float:
    """Returns the wall time of one evaluation."""
    begin = time.perf_counter()
    jax.block_until_ready(side())
    return time.perf_counter() - begin


def minima(
    sides: Mapping[str, Side], *, repeats: int, pause: float = 0.0
) -> dict[str, float]:
    """Returns the least time of every side, timed in turns after one call of each.

    What disturbs a machine makes things slower, never faster: of enough repeats the
    least is that of a quiet one.

    Args:
        sides: what to time.
        repeats: evaluations of each.
        pause: seconds before each: threads of BLAS go on spinning after a call.
    """
    for side in sides.values():
        jax.block_until_ready(side())
    taken = dict.fromkeys(sides, float("inf"))
    for _ in range(repeats):
        for name, side in sides.items():
            time.sleep(pause)
            taken[name] = min(taken[name], seconds(side))
    return taken


def shown(name: str, taken: Mapping[str, float]) -> str:
    """Returns a line, milliseconds of ours | peer | floor and their ratios."""
    ours, peer, floor = (1e3 * taken[side] for side in ("ours", "peer", "floor"))
    return (
        f"{name:38s} {ours:10.2f} | {peer:10.2f} | {floor:10.2f}   "
        f"peer / ours {peer / ours:5.2f}   ours / floor {ours / floor:5.2f}"
    )
