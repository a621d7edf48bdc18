# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Learning from adversarial perturbations alone
#
# A network f learns two digits. Every training image gets a random target and a tiny
# perturbation that moves f towards it. A second network g is trained on nothing but the
# perturbations and the targets: it sees no digit and no label. Does it know digits?
# (Kumano, Kera & Yamasaki 2024, arXiv:2410.23677.) A minute on two CPU cores.

# %%
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
            + done.stderr.decode().rpartition("ERROR: ")[2].partition("\n")[0]
        ) from None

import jax

devices = jax.devices()
print(f"JAX {jax.__version__} on {len(devices)} x {devices[0].device_kind}")

# %%
import os

import jax

jax.config.update("jax_enable_x64", True)  # theory in float64; networks are float32

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from ntk_corrupt import adversarial, plots
from ntk_corrupt.adversarial import attacks, descent, two_classes
from theory.two_layer import perturbations as closed

SMOKE = bool(os.environ.get("NTK_CORRUPT_SMOKE"))  # small sizes, for tests
UNITS, STEPS, EPS = (40, 30, 0.14) if SMOKE else (200, 200, 0.14)
RATE = 0.1
plt.rcParams.update(plots.style())
key_f, key_g, key_targets = jax.random.split(jax.random.key(0), 3)

# %% [markdown]
# ## A network that knows two digits

# %%
digits = two_classes.images("digits", (1, 2), n=200)
d = digits.x.shape[1]
protocol = adversarial.Protocol(
    steps_f=STEPS,
    steps_g=STEPS,
    rates_f=jnp.asarray([RATE], jnp.float32),
    rates_g=jnp.asarray([RATE], jnp.float32),
)
f = adversarial.first(protocol, descent.network(d, UNITS, 0.0, key=key_f), digits)

# %% [markdown]
# ## Targets and perturbations
#
# Half of the images of either digit get the target 1, the other half -1, so that targets
# say nothing about digits.

# %%
targets = adversarial.draw_targets(digits.y, "stratified", key=key_targets)
found = attacks.perturb_each(f, digits.x, targets, attacks.Attack(eps=EPS))
print("accuracy of the targets as labels:", float((targets == digits.y).mean()))
print("images without a perturbation:", int(found.stuck[0]))

# %%
fig, axes = plt.subplots(1, 6, figsize=(9, 2))
shown = [part[k] for k in range(3) for part in (digits.x, found.r[0])]
titles = [
    text
    for k in range(3)
    for text in (f"label {digits.y[k]:+.0f}", f"r, target {targets[k]:+.0f}")
]
plots.sample_images(axes, np.asarray(shown).reshape(6, 8, 8), titles)
plt.show()

# %% [markdown]
# ## A network that has seen perturbations only
#
# Without perturbations it is as it was initialised.

# %%
start = descent.network(d, UNITS, 0.0, key=key_g)
for eps in (0.0, EPS):
    r = attacks.perturb_each(f, digits.x, targets, attacks.Attack(eps=eps)).r
    g = adversarial.second(protocol, start, r, targets)
    scores = adversarial.scores(f, g, digits)
    print(
        f"eps {eps}: accuracy on fresh digits, f {float(scores.test_f[0]):.3f}, "
        f"g {float(scores.test_g[0, 0]):.3f}; alike {float(scores.agreement[0, 0]):.3f}"
    )

# %% [markdown]
# ## Why
#
# A perturbation points along D(x), a sum over the training set in closed form: wherever
# the image is, it points from one class to the other, with the sign of its target. So a
# perturbation with its target is a small training image with its label.

# %%
x, y = digits.x.astype(float), digits.y.astype(float)
moved = closed.directions(x, x, y, 0.0)
cosine = attacks.mean_cosine(found.r, moved.astype(jnp.float32))
print(f"|cos| of the perturbations and D(x): {float(cosine[0]):.3f}")
hat_g = closed.second_output(
    digits.x_test.astype(float), found.r[0].astype(float), moved, 0.0
)
outputs = descent.outputs(g, digits.x_test)[0, 0]
alike = (jnp.sign(hat_g) == jnp.sign(outputs)).mean()
print(f"decisions of g that the closed form predicts: {float(alike):.3f}")

# %%
fig, ax = plt.subplots(figsize=(4.5, 3.6))
for sign, label in ((1, "digit 1"), (-1, "digit 2")):
    chosen = np.asarray(digits.y_test) == sign
    ax.plot(np.asarray(hat_g)[chosen], np.asarray(outputs)[chosen], ".", label=label)
ax.axhline(0, color="0.6", linewidth=0.8)
ax.axvline(0, color="0.6", linewidth=0.8)
ax.set(xlabel="hat g, in closed form", ylabel="g, trained on perturbations")
ax.legend()
plt.show()
