"""The numerical tests under the instruction sets and BLAS kernels of other processors.

`python tests/support/portable.py [--one] [PYTEST ARGUMENTS]`. Each run pairs an
instruction set of XLA with a kernel of OpenBLAS (NumPy's and SciPy's, whose LAPACK is
JAX's too), so that every one of both is in a run that the processor can make. `--one`
makes the single run that is furthest from what the processor would choose, of the
files `CHOSEN`. Otherwise, without files of its own, pytest runs the tests of `theory`
and `ntk_corrupt`. Programs are compiled as for users, other than in `make test`.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import time
from typing import NamedTuple

TESTS = pathlib.Path(__file__).resolve().parents[1]
CPUINFO = pathlib.Path("/proc/cpuinfo")


class Machine(NamedTuple):
    """A processor to stand in for: what it needs, and what is told to choose for it."""

    isa: str
    blas: str
    needs: frozenset[str]


# From the oldest to the newest.
MACHINES = (
    Machine("SSE4_2", "Haswell", frozenset({"avx2", "fma"})),
    Machine("AVX2", "Zen", frozenset({"avx2", "fma"})),
    Machine("AVX512", "SkylakeX", frozenset({"avx512f", "avx512dq", "avx512vl"})),
)

# In two minutes: solves, quadrature, sums that cancel, laws, descent, each by one file.
CHOSEN = (
    "ntk_corrupt/spectral/test_band_probes.py",
    "theory/numerics/test_blocks.py",
    "theory/regression/test_equivalent.py",
    "theory/outputs/test_draws.py",
    "theory/numerics/test_edges.py",
    "theory/outputs/test_orthant.py",
    "theory/regression/test_poles.py",
    "ntk_corrupt/rbm/test_machine.py",
    "ntk_corrupt/spectral/test_segregation.py",
    "theory/numerics/test_solve.py",
    "theory/outputs/test_storage.py",
    "theory/routes/exact/test_tiled_cholesky.py",
)


def processor():
    """Model name and flags of the first processor; empty where Linux does not tell."""
    text = CPUINFO.read_text() if CPUINFO.exists() else ""
    found = {
        name: re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
        for name in ("model name", "flags")
    }
    model, flags = (match.group(1) if match else "" for match in found.values())
    return model or "unknown processor", frozenset(flags.split())


def runnable(flags):
    """The machines that a processor of these flags can stand in for."""
    return tuple(machine for machine in MACHINES if machine.needs <= flags)


def numerical():
    """The test files of the two packages: those that know no script."""
    return [
        str(path.relative_to(TESTS.parent))
        for path in sorted(TESTS.rglob("test_*.py"))
        if re.search(r"^(from|import) (theory|ntk_corrupt)", path.read_text(), re.M)
        and not re.search(r"^(from|import) experiments", path.read_text(), re.M)
    ]


def environment(machine):
    """The variables that make libraries choose what the machine would."""
    flags = os.environ.get("XLA_FLAGS", "")
    return {
        **os.environ,
        "XLA_FLAGS": f"{flags} --xla_cpu_max_isa={machine.isa}".strip(),
        "OPENBLAS_CORETYPE": machine.blas,
    }


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", action="store_true", help="the furthest machine only")
    options, rest = parser.parse_known_args(arguments)
    model, flags = processor()
    machines = runnable(flags)
    for machine in MACHINES:
        if machine not in machines:
            print(f"left out {machine.isa} with {machine.blas}: needs AVX-512 or AVX2")
    chosen = [f"tests/{name}" for name in CHOSEN] if options.one else numerical()
    files = [] if any(not a.startswith("-") for a in rest) else chosen
    results = []
    for machine in machines[:1] if options.one else machines:
        print(f"== {machine.isa} with OpenBLAS {machine.blas} on {model}", flush=True)
        command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "worksteal"]
        command += ["--optimised", "-m", "not slow", "-q", *rest, *files]
        start = time.monotonic()
        run = subprocess.run(command, cwd=TESTS.parent, env=environment(machine))
        minutes = (time.monotonic() - start) / 60
        results.append((machine, run.returncode, minutes))
    for machine, code, minutes in results:
        state = "passed" if code == 0 else f"FAILED ({code})"
        print(f"{machine.isa:8s} {machine.blas:10s} {state} in {minutes:.1f} min")
    return int(not results or any(code for _, code, _ in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
