"""The first cell of code of every notebook, which installs what is missing.

`python tests/support/install_cell.py`, which `make notebooks` runs, writes it into the
sources in `notebooks/`: a notebook is opened alone, and cannot import it.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
CELL = """\
# Installs ntk-corrupt where it is missing, as on Colab: from a checkout around this
# notebook or beside it, a wheel beside it, or by name. The JAX that is here stays.
import importlib.metadata
import pathlib
import subprocess
import sys

try:
    importlib.metadata.version("ntk-corrupt")
except importlib.metadata.PackageNotFoundError:
    here = pathlib.Path.cwd()
    folders = [here, *here.parents, *sorted(here.glob("*/"))]
    found = [f for f in folders if (f / "ntk_corrupt" / "__init__.py").exists()]
    found += sorted(here.glob("ntk_corrupt-*.whl"), reverse=True)
    packages = [f"{p.name}=={p.version}" for p in importlib.metadata.distributions()]
    own = ("jax=", "jax-", "jax_", "jaxlib=", "libtpu")  # and the plugins of JAX
    kept = [package for package in packages if package.startswith(own)]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-color", *kept]
    done = subprocess.run([*pip, str([*found, "ntk-corrupt"][0])], capture_output=True)
    if done.returncode:
        raise SystemExit(
            "ntk-corrupt must be beside this notebook (on Colab: in the Files panel), "
            "as a checkout or as the wheel of `make dist`; pip could not install it: "
            + done.stderr.decode().rpartition("ERROR: ")[2].partition("\\n")[0]
        ) from None

import jax

devices = jax.devices()
print(f"JAX {jax.__version__} on {len(devices)} x {devices[0].device_kind}")"""
# In a source the cell stands between two marks.
PLACE = re.compile(r"(?<=^# %%\n)# Installs .*?(?=\n\n# %%)", re.DOTALL | re.MULTILINE)


def main():
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        text, count = PLACE.subn(lambda _: CELL, path.read_text())
        assert count == 1, f"{path}: {count} cells begin with `# Installs`, not one"
        path.write_text(text)


if __name__ == "__main__":
    main()
