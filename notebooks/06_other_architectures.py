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
# # What does a network see when almost nothing is left?
#
# To first order in what is left of the training images, a network of any architecture
# decides by the nearest class mean, in a metric W of its own: f_i(x) ~ x^T W (mu_i - mean
# mu). For a multilayer perceptron W is the identity. This notebook computes W of
# convolutions with and without pooling, before anything is trained, and sets the rule beside
# the exact kernels. About a minute on two CPU cores.

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

jax.config.update("jax_enable_x64", True)  # kernels are solved in float64

import matplotlib.pyplot as plt
import numpy as np

import theory
from ntk_corrupt import data, plots
from theory import architectures

SMOKE = bool(os.environ.get("NTK_CORRUPT_SMOKE"))  # small sizes, for tests
N_TRAIN, N_TEST, SAMPLES = (20, 20, 4) if SMOKE else (100, 100, 40)
LEVELS = (0.5, 0.9) if SMOKE else (0.3, 0.6, 0.8, 0.9, 0.95)
plt.rcParams.update(plots.style())

# %% [markdown]
# ## Architectures
#
# A `Stack` is made of layers; `architectures.dense` and `architectures.convolutional` build
# the usual ones. `depth` counts weight layers: one 3 x 3 convolution and the outputs.

# %%
settings = {"shape": (8, 8, 1), "activation": "erf"}
stacks = {
    "dense": architectures.dense(depth=2, **settings),
    "convolution": architectures.convolutional(depth=2, **settings),
    "2 x 2 averages": architectures.convolutional(depth=2, pooling="local", **settings),
    "global average": architectures.convolutional(
        depth=2, pooling="global", **settings
    ),
}
if SMOKE:
    stacks = {name: stacks[name] for name in ("dense", "global average")}

# %% [markdown]
# ## The metric
#
# W is the mean over noise of the second derivative of the tangent kernel in a pixel of each of
# two images. Its trace is the number of pixels; the effective number of pixels is (tr W)^2 /
# tr W^2. Below, the directions that an architecture sees best, and the share of the trace
# that each has.

# %%
noise, key = theory.Replacement(p=1.0), jax.random.key(0)
metrics = {
    name: architectures.metric(stack, noise, key=key, samples=SAMPLES)
    for name, stack in stacks.items()
}
for name, metric in metrics.items():
    print(f"{name:<16} {float(metric.rank):5.1f} effective pixels of 64")

# %%
SHOWN = 5
fig, axes = plt.subplots(
    len(metrics), SHOWN, figsize=(1.4 * SHOWN, 1.6 * len(metrics)), squeeze=False
)
for row, (name, metric) in zip(axes, metrics.items(), strict=True):
    values, directions = (np.asarray(part) for part in metric.spectrum())
    for ax, value, direction in zip(row, values, directions, strict=False):
        direction = direction * np.sign(direction[np.abs(direction).argmax()])
        ax.imshow(direction.reshape(8, 8), cmap="RdBu_r", vmin=-0.5, vmax=0.5)
        ax.set(xticks=[], yticks=[], title=f"{100 * value / 64:.2g} %")
        ax.grid(visible=False)
    row[0].set_ylabel(name)
plt.show()

# %% [markdown]
# All directions of a dense first layer are alike, and so, nearly, are those of a convolution:
# what is drawn of them is what the noise of the samples picked. Averages take neighbouring
# pixels together. Behind a global average almost all is the mean intensity.
#
# ## Class means as each architecture sees them
#
# The rule compares the test image with W (mu_i - mean mu).

# %%
digits = data.load("digits", n_train=N_TRAIN, n_test=N_TEST, seed=0)
x, labels = np.asarray(digits.x_train), np.asarray(digits.labels_train)
means = np.array([x[labels == label].mean(axis=0) for label in range(10)])
means = means - means.mean(axis=0)
fig, axes = plt.subplots(
    len(metrics), 10, figsize=(9, 1.1 * len(metrics)), squeeze=False
)
for row, (name, metric) in zip(axes, metrics.items(), strict=True):
    seen = means @ np.asarray(metric.weight)
    for ax, image in zip(row, seen, strict=True):
        most = np.abs(seen).max()
        ax.imshow(image.reshape(8, 8), cmap="RdBu_r", vmin=-most, vmax=most)
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.show()

# %% [markdown]
# ## Against the exact kernel
#
# `architectures.gram` and `nngp_ntk` are the kernels of infinitely wide networks; solving
# with them is training to the end. Both learn the same corrupted images here.


# %%
def accuracies(stack, metric, p):
    """Of the class mean in W and of the kernel, on one corrupted copy of the images."""
    corruption = theory.Replacement(p=p)
    x = theory.corrupt(corruption, key, 0, digits.x_train)
    seen = theory.Problem(
        x_train=x, labels_train=digits.labels_train, x_test=digits.x_test,
        labels_test=digits.labels_test, num_classes=10,
    )  # fmt: skip
    rule = theory.class_mean_scores(seen, metric.weight)
    weights = np.linalg.solve(architectures.gram(x, stack).ntk, seen.y)
    kernel = np.asarray(architectures.nngp_ntk(seen.x_test, x, stack).ntk) @ weights
    right = lambda found: float((found.argmax(axis=1) == seen.labels_test).mean())
    return right(rule), right(kernel)


curves = {
    name: np.array([accuracies(stack, metrics[name], p) for p in LEVELS])
    for name, stack in stacks.items()
}
for name, curve in curves.items():
    print(f"accuracy of the kernel, {name:<16}", curve[:, 1].round(3))

# %%
fig, axes = plt.subplots(1, len(curves), figsize=(11, 3), sharey=True)
for ax, (name, curve) in zip(axes, curves.items(), strict=True):
    ax.plot(LEVELS, curve[:, 0], label="class mean in W")
    plots.accuracy_curves(
        ax, LEVELS, curve[:, 1], label="exact kernel", color="black", linestyle=""
    )
    plots.chance_line(ax, 10)
    plots.corruption_axis(ax, LEVELS)
    ax.set(ylim=(0, 1), title=f"{name}, {float(metrics[name].rank):.1f}")
axes[-1].legend(fontsize="small")
plt.show()

# %% [markdown]
# Here, of one corrupted copy of a hundred images, the rule is within .1 of the kernel at all
# levels without pooling. With pooling W says who falls first, the global average, and little
# of the rest: what W does not see is learned from higher orders. The script `architectures`
# measures this over draws, with trained networks beside (docs/experiments/architectures.md).
