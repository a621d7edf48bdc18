"""Label noise on clusters: distances, duplicates, ridges, the covariance of centres.

What theorems say exactly, and how near a run comes. Lists are over repeats.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.wrong_labels.clusters import settings as cluster_settings
from experiments.wrong_labels.clusters.settings import ClusterNoise
from experiments.wrong_labels.clusters.trajectories import Found
from ntk_corrupt.clusters import descent, jacobian, theorems
from theory.activations import registry
from theory.two_layer import clusters

# Samples of the covariance at a time.
_BATCH = 100_000


def distance(config: ClusterNoise, settings: Found) -> tuple[Found, Found]:
    """How far weights move, and the least they must, at one share of flips."""
    steps = np.array([0, config.early, config.flip_late])
    options = {"eps0": config.eps0, "mode": "flip", "share": settings["flip"]}
    sets = [
        cluster_settings.points(config, k, **options) for k in range(config.repeats)
    ]
    keys = [each[-1] for each in sets]
    nets = cluster_settings.networks(
        config, config.activations[0], config.flip_width, keys
    )
    paths, _ = cluster_settings.train(nets, sets, steps)
    row: Found = {}
    for net, path, (train, _, _, _) in zip(nets, paths, sets, strict=True):
        x, start = train.x.astype(jnp.float64), cluster_settings.doubled(net)
        model = descent.at_start(start, x, x)
        basis = jacobian.cluster_basis(train.cluster, len(train.classes))
        for at, when in ((1, "early"), (2, "late")):
            end = start.moved(jnp.asarray(np.asarray(path.w[at], float)), None)
            ended = descent.at_start(end, x, x)
            change = np.asarray(ended.start) - np.asarray(model.start)
            exact, diagnostic = (
                theorems.distance_bound(gram, basis, change)
                for gram in (jacobian.segment_gram(start, end, x), model.kernel)
            )
            moved = float(np.linalg.norm(np.asarray(end.w) - np.asarray(start.w)))
            for name, value in (
                (f"{when}_distance", moved),
                (f"{when}_bound", exact),
                (f"{when}_start_bound", diagnostic),
            ):
                row.setdefault(name, []).append(value)
    return row, {name: np.array(values) for name, values in row.items()}


def duplicates(config: ClusterNoise, settings: Found) -> tuple[Found, Found]:
    """Clusters without radius, in float64: nothing but cluster means is learned."""
    last = settings["steps"]
    options = {"eps0": 0.0, "mode": "flip", "share": settings["flip"]}
    sets = [
        cluster_settings.points(config, k, **options, dtype=jnp.float64)
        for k in range(config.repeats)
    ]
    keys = [each[-1] for each in sets]
    nets = cluster_settings.networks(
        config, config.activations[0], config.width, keys, jnp.float64
    )
    paths, _ = cluster_settings.train(
        nets, sets, cluster_settings.recorded(last, config.early)
    )
    at = np.searchsorted(cluster_settings.recorded(last, config.early), config.early)
    row: Found = {}
    for path, (train, noisy, _, _) in zip(paths, sets, strict=True):
        outputs = np.asarray(path.outputs)
        basis = jacobian.cluster_basis(train.cluster, len(train.classes))
        mean = basis @ (basis.T @ np.asarray(noisy.y))
        missed = outputs - np.asarray(noisy.y)
        drift = missed - missed[:1]
        drift = drift - (drift @ basis) @ basis.T
        decided = descent.decide(path.outputs[-1], train.alphas)
        for name, value in (
            ("from_mean", np.abs(outputs[-1] - mean).max()),
            ("residual", np.abs(missed[-1]).max()),
            ("drift", np.abs(drift).max()),
            ("truth", np.asarray(decided != train.labels).mean()),
            ("early_distance", path.distance[at]),
            ("late_distance", path.distance[-1]),
        ):
            row.setdefault(name, []).append(float(value))
    return row, {name: np.array(values) for name, values in row.items()}


def ridge(config: ClusterNoise, settings: Found) -> tuple[Found, Found]:
    """Trained to the end with a ridge, and what the limit says of it."""
    weight, options = settings["ridge"], {"mode": "uniform", "share": config.share}
    sets = [
        cluster_settings.points(config, k, eps0=config.eps0, **options)
        for k in range(config.repeats)
    ]
    keys = [each[-1] for each in sets]
    nets = cluster_settings.networks(config, config.activations[0], config.width, keys)
    paths, _ = cluster_settings.train(nets, sets, np.array([config.late]), ridge=weight)
    row: Found = {}
    for net, path, (train, noisy, test, _) in zip(nets, paths, sets, strict=True):
        law = descent.regress(
            cluster_settings.limit(net, train, test),
            noisy.y.astype(jnp.float64),
            jnp.array([weight], jnp.float64),
        )
        for route, of in (("network", path), ("limit", law)):
            for curve, values in cluster_settings.curves(
                of, train, noisy, test
            ).items():
                row.setdefault(f"{route}_{curve}", []).append(float(values[-1]))
    return row, {name: np.array(values) for name, values in row.items()}


@functools.partial(jax.jit, static_argnames="phi")
def _slope(phi, u):
    return jax.jvp(phi, (u,), (jnp.ones_like(u),))[1]


def _quadrature(phi, r: np.ndarray) -> np.ndarray:
    """E[phi'(u) phi'(v)] at unit variances and correlations r, in polar coordinates.

    u = rho cos(alpha), v = rho cos(alpha - theta) change sign at fixed alpha: panels of
    Gauss-Legendre nodes end there, so that kinks at zero do no harm.
    """
    node, weight = np.polynomial.legendre.leggauss(64)
    rho = np.concatenate([0.5 + node / 2, 2 + node, 5.5 + 2.5 * node, 12 + 4 * node])
    w_rho = np.concatenate([weight / 2, weight, 2.5 * weight, 4 * weight])
    w_rho = w_rho * rho * np.exp(-(rho**2) / 2) / (2 * np.pi)
    slope = lambda u: np.asarray(_slope(phi, jnp.asarray(u)))

    def one(theta):
        edges = np.array([-np.pi, theta - np.pi, 0.0, theta, np.pi]) + np.pi / 2
        half = np.diff(edges)[:, None] / 2
        alpha = (edges[:-1, None] + half * (1 + node)).ravel()
        w_alpha = (half * weight).ravel()
        u = rho[:, None] * np.cos(alpha)[None]
        v = rho[:, None] * np.cos(alpha - theta)[None]
        return w_rho @ (slope(u) * slope(v)) @ w_alpha

    return np.vectorize(one)(np.arccos(np.clip(r, -1, 1)))


def _monte_carlo(phi, centres: np.ndarray, samples: int, rng: np.random.Generator):
    """Mean of phi'(C g) phi'(C g)^T over normal g, and its standard error."""
    total = square = 0.0
    for _ in range(samples // _BATCH):
        g = rng.standard_normal((_BATCH, centres.shape[1]))
        of = np.asarray(_slope(phi, jnp.asarray(g @ centres.T)))
        both = of[:, :, None] * of[:, None, :]
        total, square = total + both.sum(axis=0), square + (both**2).sum(axis=0)
    count = samples // _BATCH * _BATCH
    mean = total / count
    return mean, np.sqrt(np.maximum(square / count - mean**2, 0) / count)


def covariance(config: ClusterNoise, settings: Found) -> tuple[Found, Found]:
    """Sigma(C) of random centres: closed form, quadrature, Monte Carlo, eigenvalues."""
    phi = registry.get(settings["activation"])
    counts = sorted({2, max(2, config.d // 4), max(2, config.d // 2), config.d})
    row: Found = {}
    for k in range(config.repeats):
        rng = np.random.default_rng((config.seed, k))
        x = rng.standard_normal((config.d, config.d))
        centres = x / np.linalg.norm(x, axis=1, keepdims=True)
        sigma = np.asarray(clusters.cluster_covariance(jnp.asarray(centres), phi))
        few, closed = centres[:2], sigma[:2, :2]
        inner = few @ few.T
        np.fill_diagonal(inner, 1.0)  # arccos sees rounding as its root
        mean, error = _monte_carlo(phi.fn, few, settings["samples"], rng)
        apart = np.abs(closed - inner * mean)
        least = [float(np.linalg.eigvalsh(sigma[:k, :k])[0]) for k in counts]
        bounds = [float(clusters.relu_bound(jnp.asarray(centres[:k]))) for k in counts]
        twins = jnp.asarray(np.concatenate([few[:1], few]))
        for name, value in (
            ("quadrature", np.abs(closed - inner * _quadrature(phi.fn, inner)).max()),
            ("monte_carlo", apart.max()),
            ("errors", (apart / np.maximum(np.abs(inner) * error, 1e-12)).max()),
            ("coincident", abs(clusters.least_eigenvalue(twins, phi))),
            ("over_bound", np.min(np.divide(least, bounds))),
        ):
            row.setdefault(name, []).append(float(value))
        row.setdefault("least", []).append(least)
    return {**row, "counts": counts}, {
        name: np.array(values) for name, values in row.items()
    }
