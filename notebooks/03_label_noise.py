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
# # Wrong labels are learned last
#
# Two clusters of points, some labels wrong, a network of one hidden layer trained by gradient
# descent. In its first iterations it learns the clusters, and sees through the wrong labels;
# much later it learns these too. The law of the infinitely wide network says when. After
# Li, Soltanolkotabi & Oymak 2020, [arXiv:1903.11680](https://arxiv.org/abs/1903.11680). Half a
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

jax.config.update("jax_enable_x64", True)  # theory in float64; networks are float32

import dataclasses

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from ntk_corrupt import plots
from ntk_corrupt.clusters import descent, jacobian, points
from ntk_corrupt.networks import two_layer
from theory import activations, kernels
from theory.keys import stream
from theory.two_layer.clusters import fixed_output

SMOKE = bool(os.environ.get("NTK_CORRUPT_SMOKE"))  # small sizes, for tests
N, D, WIDTH, LAST = (60, 6, 40, 300) if SMOKE else (400, 20, 1000, 4500)
EARLY, SHARE = 80, 0.3
plt.rcParams.update(plots.style())

# %% [markdown]
# ## Points and labels
#
# Points at distance .5 from one of two centres, classes 0 and 1. Of each cluster 30 % of the
# labels are drawn anew, so that about 15 % are wrong.

# %%
key = jax.random.key(0)
model = points.ClusterModel(n=N, d=D, eps0=0.5)
train = points.draw(model, key=key)
test = points.draw(model, key=stream(key, "test"), centres=train.centres)
noisy = points.corrupt(train, SHARE, key=stream(key, "noise"))
wrong = np.asarray(noisy.flipped)
print(f"{wrong.mean():.3f} of the labels are wrong")

# %% [markdown]
# ## Training, and the law beside it
#
# The law starts where this network starts and follows gradient flow with the kernel of
# infinite width: one eigendecomposition gives all times.

# %%
relu = activations.get("relu")
net = two_layer.signed(relu, D, WIDTH, key=key)
rate = descent.step_size(net, train.x)
steps = np.unique([0, EARLY, *np.geomspace(1, LAST, 40).astype(int)])
path = descent.descend(net, train.x, noisy.y, test.x, steps=steps, rate=rate)

# %%
arch = fixed_output(relu, D)
x, x_test, y = (part.astype(jnp.float64) for part in (train.x, test.x, noisy.y))
limit = dataclasses.replace(
    descent.at_start(net, train.x, test.x).astype(jnp.float64),
    kernel=kernels.ntk_gram(x, arch),
    rows=kernels.ntk(x_test, x, arch),
)
law = descent.flow(limit, y, jnp.asarray(float(rate) * steps))


# %%
def accuracies(path):
    alphas = train.alphas.astype(path.outputs.dtype)
    decided = descent.decide(path.outputs, alphas)
    on_test = descent.decide(path.test_outputs, alphas)
    return [
        np.asarray(found == labels[None]).mean(axis=1)
        for found, labels in (
            (decided, noisy.labels),
            (decided, train.labels),
            (on_test, test.labels),
        )
    ]


names = ("noisy labels", "true labels", "fresh points")
for step in (EARLY, LAST):
    at = np.searchsorted(steps, step)
    for name, network, predicted in zip(
        names, accuracies(path), accuracies(law), strict=True
    ):
        print(
            f"iteration {step}, accuracy on {name}: {network[at]:.3f}, "
            f"law {predicted[at]:.3f}"
        )

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6))
for name, network, predicted, colour in zip(
    names, accuracies(path), accuracies(law), plots.PALETTE, strict=False
):
    axes[0].semilogx(steps[1:], network[1:], color=colour, label=name)
    axes[0].semilogx(steps[1:], predicted[1:], "--", color=colour)
axes[0].axhline(1 - wrong.mean(), color="0.5", ls=":", label="right labels")
axes[0].set(xlabel="iteration", ylabel="accuracy", ylim=(0.4, 1.02))
axes[0].legend(fontsize="small")
losses = np.asarray(descent.loss(path.outputs, noisy.y))
at = np.searchsorted(steps, EARLY)
for of, name in ((~wrong, "right labels"), (wrong, "wrong labels")):
    axes[1].hist(losses[at][of], np.linspace(0, 0.6, 31), density=True, alpha=0.6,
                 label=name)  # fmt: skip
axes[1].set(xlabel=f"loss of a point, iteration {EARLY}", ylabel="density")
axes[1].legend(fontsize="small")
plt.show()

# %% [markdown]
# ## Why: two large singular values
#
# The Jacobian has one large singular value for each cluster, and its left vectors are nearly
# constant on clusters. What the network must learn lies there; wrong labels hardly do.

# %%
found = jacobian.left_singular(net.jacobian_gram(train.x, train.x))
print("singular values", np.round(found.values[:4], 2), f"gap {found.gap(2):.1f}")
noise, clean = noisy.y - train.y, net(train.x) - train.y
print(
    f"in the first two vectors: {found.energy(clean, 2):.2f} of what is to be learned, "
    f"{found.energy(noise, 2):.2f} of the label noise"
)
