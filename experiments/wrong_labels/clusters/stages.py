"""What clusters alone say of a descent, beside it: bounds, budgets, radii.

Lists are over repeats.
"""

import jax.numpy as jnp
import numpy as np

from experiments.harness.lines import known
from experiments.wrong_labels.clusters import settings as cluster_settings
from experiments.wrong_labels.clusters.settings import ClusterNoise
from experiments.wrong_labels.clusters.trajectories import Found
from ntk_corrupt.clusters import bounds, descent, jacobian
from ntk_corrupt.label_noise import stopping

# The relative distance at which `early_stopping` stops, whatever the problem.
FIXED = 0.3
# Iterations of the first stage, in units of `early`; recorded ones in a factor of ten.
LAST, _DENSE = 8, 24


def _dense(last: int) -> np.ndarray:
    grid = np.geomspace(1, last, int(_DENSE * np.log10(last)) + 1)
    return np.unique([0, *np.round(grid).astype(int)])


def bounded(config: ClusterNoise, settings: Found) -> tuple[Found, Found]:
    """Alpha, beta, eps and the first stage of a descent, each beside its bound."""
    steps = _dense(LAST * config.early)
    sets = [
        cluster_settings.points(
            config, k, eps0=settings["radius"], mode="uniform", share=config.share
        )
        for k in range(config.repeats)
    ]
    nets = cluster_settings.networks(
        config, settings["activation"], settings["width"], [each[-1] for each in sets]
    )
    paths, rates = cluster_settings.train(nets, sets, steps)
    rows = [
        _first_stage(*each[:2], float(each[2]), steps, *each[3][:3])
        for each in zip(nets, paths, rates, sets, strict=True)
    ]
    row = {key: [each[key] for each in rows] for key in rows[0]}
    return row, {"steps": steps, "rates": rates}


def _first_stage(net, path, rate, steps, train, noisy, test) -> Found:
    start, x = cluster_settings.doubled(net), train.x.astype(jnp.float64)
    basis = jacobian.cluster_basis(train.cluster, len(train.classes))
    centres = np.asarray(train.centres, float)
    centres = jnp.asarray(centres / np.linalg.norm(centres, axis=1, keepdims=True))
    said = bounds.of_clusters(start, x, centres, train.cluster)
    grams = [
        start.moved(jnp.asarray(np.asarray(w, float)), None).jacobian_gram(x, x)
        for w in path.w[:: max(1, len(steps) // 12)]
    ]
    ends = [jacobian.extremes(gram, basis) for gram in grams]
    row = {f"start_{k}": v for k, v in ends[0]._asdict().items()}
    row |= {f"bound_{k}": known(v) for k, v in said._asdict().items()}
    y, times = np.asarray(noisy.y, float), rate * steps
    # of the linearisation it is exact, of the network with what is met on the path
    model = descent.at_start(start, x, test.x.astype(jnp.float64))
    flow = descent.flow(model, jnp.asarray(y), jnp.asarray(times))
    met = jacobian.Extremes(
        min(e.alpha for e in ends), *(max(e[k] for e in ends) for k in (1, 2))
    )
    missed = np.asarray(model.start) - y
    for route, of, found in (("first", flow, ends[0]), ("network", path, met)):
        allowed = bounds.phases(found, missed, basis, times)
        residual = np.asarray(of.outputs, float) - y[None]
        on = residual @ basis
        moved = residual - residual[:1]
        off = moved - (moved @ basis) @ basis.T
        for name, ours, most in (
            ("plus", np.linalg.norm(on, axis=1), allowed.plus),
            ("drift", np.linalg.norm(off, axis=1), allowed.drift),
            ("distance", np.asarray(of.distance, float), allowed.distance),
        ):
            row[f"{route}_{name}"] = float((ours[1:] / most[1:]).max())
    stage = bounds.first_stage(ends[0], missed, basis)
    row["stage"] = known(stage / rate)
    row["fed"] = ends[0].beta * ends[0].eps / ends[0].alpha ** 2
    row["width_asked"] = known(bounds.width_for_half(centres, net.activation))
    moved = float(path.distance[-1])
    row["width_moved"] = known(
        len(net.w) * (2 * said.lipschitz * moved / ends[0].alpha) ** 2
    )
    return row | _rules(net, path, steps, stage / rate, ends[0], -missed, basis,
                        cluster_settings.curves(path, train, noisy, test))  # fmt: skip


def _rules(net, path, steps, stage, found, wanted, basis, curves) -> Found:
    """Where rules stop, and the error on fresh points there."""
    budget = bounds.least_to_learn(found, wanted, basis)
    distance = np.asarray(path.distance, float)
    size = float(np.linalg.norm(np.asarray(net.w, float)))
    chosen = {
        "budget": stopping.distance_budget(distance, budget),
        "fixed": stopping.distance_budget(distance / size, FIXED),
        "stage": int(np.searchsorted(steps, min(stage, steps[-1]))),
        "best": int(curves["test"].argmin()),
    }
    row: Found = {"budget": budget}
    for name, at in chosen.items():
        row[f"{name}_step"] = int(steps[at])
        row[f"{name}_test"] = float(curves["test"][at])
        row[f"{name}_distance"] = float(distance[at])
    return row


def radius(config: ClusterNoise, settings: Found) -> tuple[Found, Found]:
    """Distance at which wrong labels are learned, network and law, at one radius.

    Few points, so that a cluster has no more of them than there are dimensions.
    """
    ratio = config.eps0 / settings["radius"]
    steps = _dense(int(config.flip_late * max(1.0, ratio) ** 2))
    sets = [
        cluster_settings.points(
            config, k, eps0=settings["radius"], mode="flip", share=settings["flip"]
        )
        for k in range(config.repeats)
    ]
    nets = cluster_settings.networks(
        config, settings["activation"], settings["width"], [each[-1] for each in sets]
    )
    paths, _ = cluster_settings.train(nets, sets, steps)
    row: Found = {}
    for net, path, (train, noisy, test, _) in zip(nets, paths, sets, strict=True):
        start, x = cluster_settings.doubled(net), train.x.astype(jnp.float64)
        wrong = cluster_settings.curves(path, train, noisy, test)["noisy"]
        fitted = np.flatnonzero(wrong == 0)
        at = int(fitted[0]) if fitted.size else len(steps) - 1
        end = start.moved(jnp.asarray(np.asarray(path.w[at], float)), None)
        gram = jacobian.segment_gram(start, end, x)
        change = np.asarray(end(x) - start(x))
        one, two = bounds.pairs(train.cluster, np.asarray(noisy.flipped))
        law = cluster_settings.limit(net, train, test)
        whole = descent.flow(
            law, noisy.y.astype(jnp.float64), jnp.array([jnp.inf], jnp.float64)
        )
        size = float(np.linalg.norm(np.asarray(net.w, float)))
        delta, gamma = float(train.delta), bounds.slopes(net.activation).gamma
        for name, value in (
            ("fitted", float(bool(fitted.size))),
            ("step", float(steps[at])),
            ("distance", float(path.distance[at])),
            ("least", bounds.cost_of_pairs(gram, change, one, two)),
            ("law", float(whole.distance[0])),
            ("lemma", len(one) ** 0.5 * delta / (5 * gamma * settings["radius"])),
            ("size", size),
        ):
            row.setdefault(name, []).append(value)
    return row, {name: np.array(values) for name, values in row.items()}
