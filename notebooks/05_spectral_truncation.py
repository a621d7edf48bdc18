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
# # Wrong labels and principal components
#
# A network is trained on digits of which some are labelled wrong, until it knows the wrong
# labels by heart. Its last layer then reads only the first d principal components of its
# features: what was learned is in the first ten or so, much of what was memorised is behind
# them. The question of Wang (2026, arXiv:2603.02293; withdrawn by its author). About half a
# minute on two CPU cores.

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
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import theory
from ntk_corrupt import data, models, plots, spectral
from ntk_corrupt.label_noise import corrupt_labels
from ntk_corrupt.spectral import SpectralTruncation, accuracy, band_probes, segregation
from ntk_corrupt.training import TrainConfig
from ntk_corrupt.training.trajectories import walk

SMOKE = bool(os.environ.get("NTK_CORRUPT_SMOKE"))  # small sizes, for tests
N, HELD, WIDTH, EPOCHS = (200, 100, 32, 6) if SMOKE else (800, 300, 256, 60)
RHO, CLASSES = 0.4, 10
plt.rcParams.update(plots.style())

# %% [markdown]
# ## Labels
#
# A share of the labels is replaced by another class, in the training images and in those
# held out to choose d: no clean label is needed for that.

# %%
digits = data.load("digits", n_train=N + HELD, normalise="unit", seed=0)
digits = digits.astype(jnp.float32)
key = jax.random.key(0)
labels = corrupt_labels(digits.labels_train, RHO, CLASSES, mode="flip", key=key)
x, noisy, true = digits.x_train[:N], labels[:N], digits.labels_train[:N]
held, held_labels = digits.x_train[N:], labels[N:]
test, truth = digits.x_test, digits.labels_test

# %% [markdown]
# ## Training, and the head on d components at every epoch
#
# `decisions` are those at all d at once: logits are a cumulative sum over components.

# %%
arch = theory.Architecture(depth=3, activation="relu", w_var=2.0, b_var=0.0)
model = models.mlp(arch, WIDTH, CLASSES)
config = TrainConfig(
    loss="cross_entropy", learning_rate=1e-3, batch_size=20, epochs=EPOCHS
)
rows, epochs = [], []
for snapshot in walk(model, config, x, noisy, key=key):
    features, head = spectral.split(model, snapshot.params, x)
    of_test, _ = spectral.split(model, snapshot.params, test)
    truncation = SpectralTruncation.fit(features)
    rows.append(accuracy(truncation.decisions(head, of_test), truth))
    epochs.append(snapshot)
by_d = np.array(rows)  # (epochs + 1, d + 1)

# %% [markdown]
# The dimension is chosen by the noisy labels of the images held out; the truncation then
# folds into the weights of the last layer, and costs nothing.

# %%
of_held, _ = spectral.split(model, snapshot.params, held)
curve = accuracy(truncation.decisions(head, of_held), held_labels)
chosen = spectral.dimensions(truncation, curve, CLASSES)
d = chosen["validation"]
folded = spectral.with_head(model, snapshot.params, truncation.fold(head, d))
right = np.asarray(model.apply(folded, test)).argmax(axis=1) == np.asarray(truth)
print(f"accuracy, last epoch, whole head: {by_d[-1, -1]:.3f}")
print(f"accuracy, last epoch, d = {d}: {right.mean():.3f}")
print(f"accuracy, best epoch: {by_d[:, -1].max():.3f}")
print("d by rule", chosen)

# %%
fig, (left, heat) = plt.subplots(1, 2, figsize=(9, 3.6))
dims = np.arange(1, by_d.shape[1])
for epoch in (0, 1, EPOCHS // 6, EPOCHS):
    left.plot(dims, by_d[epoch, 1:], label=f"epoch {epoch}")
left.axvline(CLASSES, color="0.5", linestyle="--", linewidth=0.8)
left.set(xscale="log", ylim=(0, 1), xlabel="components d", ylabel="test accuracy")
left.legend(fontsize="small")
mesh = heat.pcolormesh(
    np.arange(1, len(dims) + 2) - 0.5, np.arange(len(by_d) + 1) - 0.5, by_d[:, 1:],
    vmin=0, vmax=1, cmap="viridis",
)  # fmt: skip
heat.set(xscale="log", xlabel="components d", ylabel="epoch")
heat.grid(visible=False)
fig.colorbar(mesh, ax=heat, label="test accuracy")
plt.show()

# %% [markdown]
# ## The untrained network
#
# A ridge regression on the features before training needs more components, and has no tail
# that spoils it as much.

# %%
for name, at in (("untrained", epochs[0]), ("trained", epochs[-1])):
    features, _ = spectral.split(model, at.params, x)
    of_test, _ = spectral.split(model, at.params, test)
    truncation = SpectralTruncation.fit(features)
    probe = band_probes.ridge_head(truncation, features, noisy, CLASSES)
    found = accuracy(truncation.decisions(probe, of_test), truth)
    best = spectral.best_dimension(found)
    print(
        f"{name}: probe accuracy {found[min(CLASSES, len(found) - 1)]:.3f} at d = C, "
        f"{found[best]:.3f} at d = {best}, {found[-1]:.3f} on all"
    )

# %% [markdown]
# ## Which labels are where
#
# Of each component's variance, what the true labels explain, and what the wrong ones explain
# beside them.

# %%
parts = segregation.segregation(truncation, features, true, noisy, CLASSES)
print("components with 90 % of what is explained by true labels", parts.reach("true"))
print("by wrong ones, beside them", parts.reach("noise_beyond"))
tail = truncation.tail_decisions(head, features)
fit = segregation.flipped_fit(tail, true, noisy)[min(CLASSES, len(tail) - 1)]
print(f"wrong labels that all but the first {CLASSES} components reproduce: {fit:.2f}")

shown = min(30, len(parts.variance))
fig, ax = plt.subplots(figsize=(6.4, 3.2))
number = np.arange(1, shown + 1)
ax.bar(number, parts.variance[:shown], color="0.85", label="variance")
for shift, name in ((-0.2, "true"), (0.2, "noise_beyond")):
    amount = (parts.variance * getattr(parts, name))[:shown]
    ax.bar(number + shift, amount, width=0.4, label=name.replace("_", ", "))
ax.set(yscale="log", xlabel="component", ylabel="share of all variance")
ax.legend()
plt.show()
