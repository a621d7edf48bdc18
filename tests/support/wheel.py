"""Builds the wheel and imports both packages from it, outside the checkout.

The editable install of the environment must not answer in its place: hence `-I` and the
unpacked wheel alone.
"""

import pathlib
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMPORT = """
import sys

wheel = sys.argv[1]
sys.path.insert(0, wheel)
import theory
import ntk_corrupt.data
import ntk_corrupt.ensembles

for package in (theory, ntk_corrupt):
    assert package.__file__.startswith(wheel), package.__file__
for module in ("tensorflow", "neural_tangents", "sklearn", "matplotlib"):
    assert module not in sys.modules, f"{module} is imported at start"
print("theory and ntk_corrupt import from the wheel")
"""


def main():
    with tempfile.TemporaryDirectory() as work:
        build = [sys.executable, "-m", "build", "--wheel", "--installer", "uv"]
        subprocess.run(
            [*build, "--outdir", work, ROOT], check=True, stdout=subprocess.DEVNULL
        )
        (built,) = pathlib.Path(work).glob("ntk_corrupt-*.whl")
        with zipfile.ZipFile(built) as file:
            file.extractall(f"{work}/wheel")
        command = [sys.executable, "-I", "-c", IMPORT, f"{work}/wheel"]
        subprocess.run(command, check=True, cwd=work)


if __name__ == "__main__":
    main()
