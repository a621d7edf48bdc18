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
# # What can be learned from images that are almost all noise?
#
# A network is trained on images of which 50 to 99 % of the pixels are noise, and tested on
# clean ones. This notebook predicts how well it does: no network is trained, no constant
# is fitted, and no kernel matrix is drawn. It runs on CPU, GPU and TPU; three minutes on two CPU
# cores, most of them to compile.

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

jax.config.update("jax_enable_x64", True)  # laws are computed in float64

import matplotlib.pyplot as plt
import numpy as np

import theory
from ntk_corrupt import data, plots

SMOKE = bool(os.environ.get("NTK_CORRUPT_SMOKE"))  # small sizes, for tests
N_TRAIN, N_TEST, SIZE, DEPTH = (60, 60, None, 2) if SMOKE else (1000, None, 20, 3)
LEVELS = (0.5, 0.95) if SMOKE else (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
plt.rcParams.update(plots.style())

# %% [markdown]
# ## The images
#
# 8 x 8 digits, enlarged, one network input per pixel; every pixel is replaced by uniform
# noise with probability p. The test images stay clean.

# %%
digits = data.load("digits", n_train=N_TRAIN, n_test=N_TEST, size=SIZE, seed=0)
key = jax.random.key(0)
shown = (0.0, 0.5, 0.9, 0.97)
fig, axes = plt.subplots(1, len(shown), figsize=(8, 2.2))
images = [
    theory.corrupt(theory.Replacement(p=p), key, 0, digits.x_train)[:1] for p in shown
]
plots.sample_images(
    axes, plots.as_images(np.concatenate(images)), [f"p = {p:g}" for p in shown]
)
plt.show()

# %% [markdown]
# ## The law
#
# `theory.resummed` returns mean and covariance, over corruption draws, of the outputs of
# the average over all initialisations, and what one initialisation adds. Accuracies are
# integrals of that Gaussian. The first law compiles; p is traced, so that the others do not.

# %%
arch = theory.Architecture(depth=DEPTH, activation="erf")  # two hidden layers
laws = {p: theory.resummed(arch, theory.Replacement(p=p), digits) for p in LEVELS}
labels = digits.labels_test
averages = {"one network": 1, "mean of 10": 10}
curves = {
    name: [laws[p].averaged(inits).accuracy(labels) for p in LEVELS]
    for name, inits in averages.items()
}
curves["mean of all"] = [laws[p].accuracy(labels) for p in LEVELS]
for p in LEVELS:
    if not laws[p].diagnostics["valid"]:  # the law says where not to trust it
        print(f"p = {p:g} is not valid:", *laws[p].diagnostics["doubts"])

# %% [markdown]
# For heavy corruption the law is the nearest-class-mean rule plus noise. The dashed line is
# the rule itself, learned from clean images; `theory.first_order` is the law to first order
# in 1 - p.

# %%
first = [
    theory.first_order(arch, theory.Replacement(p=p), digits).accuracy(labels)
    for p in LEVELS
]
rule = np.asarray(theory.class_mean_scores(digits).argmax(axis=1))
fig, ax = plt.subplots(figsize=(6.5, 4))
for name, accuracies in curves.items():
    plots.accuracy_curves(ax, LEVELS, accuracies, label=name)
plots.accuracy_curves(ax, LEVELS, first, label="first order", linestyle="-.", marker="")
ax.axhline(
    float((rule == np.asarray(labels)).mean()),
    color="0.5",
    linestyle="--",
    label="nearest class mean",
)
plots.chance_line(ax, 10)
plots.corruption_axis(ax, LEVELS)
ax.legend(fontsize="small")
plt.show()

# %% [markdown]
# ## Which images are safe?
#
# The probability that another corruption draw, or another initialisation, flips the
# decision is a number per test image.

# %%
level = LEVELS[-1] if SMOKE else 0.9
flips = np.asarray(theory.flip_probability(laws[level].averaged(1), rule))
order = np.argsort(flips)
chosen = np.concatenate([order[:4], order[-4:]])
fig, axes = plt.subplots(1, 8, figsize=(10, 1.8))
plots.sample_images(
    axes,
    plots.as_images(np.asarray(digits.x_test)[chosen]),
    [f"{100 * flips[k]:.0f} %" for k in chosen],
)
fig.suptitle(f"chance to leave the class mean's decision, one network, p = {level:g}")
plt.show()

# %% [markdown]
# ## Kernels stand on their own
#
# In closed form where there is one, by quadrature otherwise. Where there are several devices,
# as in a TPU runtime, they share the rows, whose number must be a multiple of theirs.

# %%
rows = jax.sharding.Mesh(devices, ("rows",))
x = digits.x_test[: 5 * len(devices)]
pair = theory.nngp_ntk(x, x, arch, mesh=rows)
print(np.round(np.asarray(pair.ntk)[:5, :5], 3))

# %% [markdown]
# ## Yours
#
# Other networks, noises and images: the same two lines. Try `activation="relu"`, `depth=6`,
# `theory.Additive(p=0.95, noise=theory.Laplace())`, `data.load("mnist", data_dir="DIR")`.

# %%
mine = arch if SMOKE else theory.Architecture(depth=2, activation="relu", b_var=0.1)
law = theory.resummed(mine, theory.Additive(p=0.95, noise=theory.Normal()), digits)
print(
    f"accuracy {law.accuracy(labels):.3f}, one network {law.averaged(1).accuracy(labels):.3f}"
)
