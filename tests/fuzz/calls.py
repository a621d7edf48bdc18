"""Calls public functions with arguments that are spelt in other ways, or nonsense.

`python tests/fuzz/calls.py --count=2000 --seed=0` prints how many calls gave the right
result or a refusal of one line, and each that gave something else: a wrong result in
silence, an error of another library, one of several lines, or no end.
"""

import argparse
import collections
import contextlib
import dataclasses
import signal
import sys
import warnings
from collections.abc import Generator
from typing import Any

import api
import jax
import numpy as np
from base_calls import Call

from theory.errors import InputError, NumericalError

_SECONDS = 60
# Half precision holds the points themselves; float32 is left of other arguments.
_TOLERANCE = 2e-3


class Endless(Exception):
    """A call that does not end."""


@contextlib.contextmanager
def _limited(seconds: int) -> Generator[None]:
    def stop(*_):
        raise Endless

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _numbers(result: Any) -> list[np.ndarray]:
    """All numbers of a result, in order."""
    found = []
    for leaf in jax.tree.leaves(result):
        if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            found += _numbers([getattr(leaf, f.name) for f in dataclasses.fields(leaf)])
        elif isinstance(leaf, bool | int | float | np.ndarray | np.generic | jax.Array):
            dtype = getattr(leaf, "dtype", np.dtype(float))
            if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
                leaf = jax.random.key_data(leaf)
            if np.asarray(leaf).dtype.kind in "biuf":
                found.append(np.asarray(leaf, float))
    return found


def _differs(result: Any, expected: Any) -> str | None:
    """In what a result is not that which was expected."""
    one, two = _numbers(result), _numbers(expected)
    if [each.shape for each in one] != [each.shape for each in two]:
        return "other shapes"
    for found, right in zip(one, two, strict=True):
        scale = np.abs(right[np.isfinite(right)]).max(initial=1e-6)
        close = np.abs(found - right) <= _TOLERANCE * scale
        if not (close | (found == right) | (np.isnan(found) & np.isnan(right))).all():
            return f"off by {np.nanmax(np.abs(found - right)) / scale:.1g}"
    return None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a call: `kind` is right, refused, or a fault."""

    kind: str
    said: str


def outcome(call: Call, changes: dict, expected: Any | None) -> Outcome:
    """Runs a call with changed arguments; `expected` is None for nonsense."""
    try:
        with _limited(_SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = {name: make() for name, make in changes.items()}
            result = call.run(**made)
    except (InputError, NumericalError) as error:
        lines = str(error).count("\n") + 1
        return Outcome("refused" if lines == 1 else "several lines", str(error))
    except Endless:
        return Outcome("no end", f"more than {_SECONDS} s")
    except BaseException as error:  # whatever it is, it is not ours
        if isinstance(error, KeyboardInterrupt):
            raise
        said = " ".join(str(error).split())[:150]
        return Outcome("foreign", f"{type(error).__name__}: {said}")
    if expected is None:
        return Outcome("silent", "accepted")
    differs = _differs(result, expected)
    return Outcome("right" if differs is None else "silent", differs or "")


_FAULTS = ("silent", "foreign", "several lines", "no end")


def run(count: int, seed: int, only: str = "") -> tuple[collections.Counter, list[str]]:
    """Returns how often each outcome came, and the faults in words."""
    rng = np.random.default_rng(seed)
    calls = [call for call in api.calls() if only in call.name]
    expected: dict[str, Any] = {}
    seen: collections.Counter = collections.Counter()
    faults: dict[str, None] = {}
    for _ in range(count):
        call = calls[rng.integers(len(calls))]
        if call.name not in expected:
            expected[call.name] = call.run()
        name = list(call.arguments)[rng.integers(len(call.arguments))]
        argument = call.arguments[name]
        spelt, wrong = argument.spellings(rng), argument.nonsense(rng)
        number = rng.integers(len(spelt) + len(wrong))
        right = number < len(spelt)
        said, make = spelt[number] if right else wrong[number - len(spelt)]
        found = outcome(call, {name: make}, expected[call.name] if right else None)
        seen[found.kind] += 1
        if found.kind in _FAULTS:
            faults[f"{found.kind:8} {call.name}({name}: {said}): {found.said}"] = None
    return seen, list(faults)


def main() -> int:
    """Prints the outcomes; 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="functions whose name holds this")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    seen, faults = run(args.count, args.seed, args.only)
    for fault in sorted(faults):
        print(fault)
    print(f"seed {args.seed}, {args.count} calls: {dict(seen)}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
