"""Trajectories on clusters with label noise: errors, losses, spectra, the law beside.

Lists and first axes are over repeats.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from sklearn import metrics

from experiments.harness.lines import known
from experiments.wrong_labels.clusters import settings as cluster_settings
from experiments.wrong_labels.clusters.settings import ClusterNoise
from ntk_corrupt.clusters import descent, jacobian, theorems

# Bins of the losses, on the axis of the source's figure.
BINS = np.linspace(0.0, 0.6, 61)
# The network, the infinitely wide one, and the network to first order.
ROUTES = ("network", "limit", "start")
CURVES = ("noisy", "truth", "test", "loss", "distance")
Found = dict[str, Any]


def overlap(losses: np.ndarray, flipped: np.ndarray) -> float:
    """Common area of the histograms of right and wrong labels, 60 bins on [0, .6].

    NaN if there are none of one kind.
    """
    if not 0 < flipped.sum() < flipped.size:
        return np.nan
    inside = np.clip(losses, BINS[0], BINS[-1])
    shares = [
        np.histogram(inside[of], BINS)[0] / of.sum() for of in (flipped, ~flipped)
    ]
    return float(np.minimum(*shares).sum())


def _spectrum(gram, train, name: str) -> tuple[Found, np.ndarray]:
    found = jacobian.left_singular(gram)
    count = len(train.classes)
    basis = jacobian.cluster_basis(train.cluster, count)
    ends = jacobian.extremes(gram, basis)
    said = {"gap": found.gap(count), "above": found.above(), **ends._asdict()}
    return {f"{name}_{key}": known(v) for key, v in said.items()}, found.values


def training(config: ClusterNoise, settings: Found) -> tuple[Found, Found]:
    """Trajectories, losses, spectra and laws of one kind of network."""
    name, width = settings["activation"], settings["width"]
    steps = cluster_settings.recorded(config.late, config.early)
    sets = [
        cluster_settings.points(
            config, k, eps0=settings["radius"], mode="uniform", share=config.share
        )
        for k in range(config.repeats)
    ]
    nets = cluster_settings.networks(config, name, width, [each[-1] for each in sets])
    paths, rates = cluster_settings.train(nets, sets, steps)
    rows, arrays = [], []
    for net, path, rate, (train, noisy, test, _) in zip(
        nets, paths, rates, sets, strict=True
    ):
        row, of = _one_training(
            config, steps, net, path, float(rate), train, noisy, test
        )
        rows.append(row)
        arrays.append(of)
    row = {key: [each[key] for each in rows] for key in rows[0]}
    found = {key: np.stack([each[key] for each in arrays]) for key in arrays[0]}
    return row, {"steps": steps, **found}


def _one_training(config, steps, net, path, rate, train, noisy, test):
    times = jnp.asarray(rate * steps, jnp.float64)
    models = {
        "limit": cluster_settings.limit(net, train, test),
        "start": descent.at_start(net, train.x, test.x).astype(jnp.float64),
    }
    y, flipped = noisy.y.astype(jnp.float64), np.asarray(noisy.flipped)
    routes = {"network": path} | {
        route: descent.flow(model, y, times) for route, model in models.items()
    }
    arrays, row = {}, {"rate": rate, "flipped": float(flipped.mean())}
    for route, of in routes.items():
        for curve, values in cluster_settings.curves(of, train, noisy, test).items():
            arrays[f"{route}_{curve}"] = values
        apart = np.asarray(of.test_outputs) - np.asarray(path.test_outputs)
        arrays[f"{route}_rms"] = np.sqrt((apart**2).mean(axis=1))
    losses = (np.asarray(path.outputs) - np.asarray(noisy.y)) ** 2 / 2
    for when, step in (("early", config.early), ("late", config.late)):
        at = losses[np.searchsorted(steps, step)]
        arrays[f"{when}_losses"] = at
        row[f"{when}_overlap"] = known(overlap(at, flipped))
        some = 0 < flipped.sum() < flipped.size
        row[f"{when}_auc"] = float(metrics.roc_auc_score(flipped, at)) if some else None
        row[f"{when}_wrong"], row[f"{when}_right"] = (
            float(np.median(at[of])) if some else None for of in (flipped, ~flipped)
        )
    arrays["flipped"] = flipped
    end = net.moved(path.w[-1], None)
    ended = descent.at_start(end, train.x, test.x)
    for when, model in (("start", models["start"]), ("end", ended)):
        said, arrays[f"{when}_singular"] = _spectrum(model.kernel, train, when)
        row |= said
    left, count = jacobian.left_singular(models["start"].kernel), len(train.classes)
    truth, f = np.asarray(train.y), np.asarray(path.outputs, float)
    row["noise_energy"] = known(left.energy(np.asarray(noisy.y) - truth, count))
    row["clean_energy"] = known(left.energy(f[0] - truth, count))
    size = np.linalg.norm(np.asarray(end.w))
    return row | _theorems(net.activation, f[-1], size, train, noisy), arrays


def _theorems(activation, f, size, train, noisy) -> Found:
    """Theorem 2.2's quantities, lemma 8.1 on pairs, the diffuseness of S+.

    `f` are the outputs at the end, `size` is |W| there.
    """
    centres, cluster = np.asarray(train.centres, float), np.asarray(train.cluster)
    centres = jnp.asarray(centres / np.linalg.norm(centres, axis=1, keepdims=True))
    sizes = np.bincount(cluster)
    of = theorems.stopping(centres, len(f), int(sizes.max()), activation)
    noise, flipped = np.asarray(noisy.y - train.y), np.asarray(noisy.flipped)
    basis = jacobian.cluster_basis(train.cluster, len(sizes))
    largest = np.abs(basis @ (basis.T @ noise)).max()
    bound = theorems.diffuse_bound(train.cluster, len(sizes), noise)
    # a wrong label and a right one of the same cluster
    pairs = []
    for number in range(len(sizes)):
        sides = (
            np.flatnonzero((cluster == number) & side) for side in (flipped, ~flipped)
        )
        pairs += list(zip(*sides, strict=False))
    found = {f"theorem_{key}": known(value) for key, value in of._asdict().items()}
    if not pairs:
        return found | {"diffuse": 0.0, "pairs": 0.0}
    (one, two), x = np.array(pairs).T, np.asarray(train.x, float)
    gamma = theorems.lipschitz(activation)
    least = theorems.pair_bound(x[one] - x[two], f[one] - f[two], gamma)
    return found | {
        "diffuse": float(largest / bound),
        "pairs": known(float(least / size)),
    }
