"""Corruption of training and of test images: settings, cells, table, figure."""

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

import theory
from experiments.harness.flags import fixed, setting
from experiments.harness.run_directory import Cell, Row, RunDirectory
from experiments.shared import online, reference, routes, settings
from experiments.shared.rows import matching
from ntk_corrupt import plots
from ntk_corrupt.ensembles import ensemble
from theory.errors import InputError, unknown

# Kinds of corruption of standardised images, with noise of unit variance.
_NOISE = {"replacement": "uniform(-1.7320508,1.7320508)", "additive": "normal"}
_USUAL = ("online", "network")
_ROUTES = (*_USUAL, "resummed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainTestCorruption(routes.Routes):
    """Settings of the experiment."""

    p: tuple[float, ...] = setting(
        (0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 0.95), "levels of training images"
    )
    p_test: tuple[float, ...] = setting(
        (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0), "levels of test images, rising"
    )
    kinds: tuple[str, ...] = setting(
        tuple(_NOISE), f"of training and of test images, all pairs: {', '.join(_NOISE)}"
    )
    corruption: str = fixed("")
    noise: str = fixed("")
    rates: str = fixed("ntk")  # of the law of copies; that of fresh noise knows its own
    routes: tuple[str, ...] = setting(_USUAL, f"any of {', '.join(_ROUTES)}")
    size: int | None = setting(
        14, "side in pixels to resize the images to; or none", most=1024
    )
    n_test: int | None = setting(500, "test images, balanced; none is all")
    epochs: int = setting(30, "epochs to train: corrupted copies of every image")
    stop_loss: float | None = setting(None, "training loss to stop at; none trains all")
    noise_regime: str = setting("fresh", "fresh: other noise in each epoch; or frozen")
    inits: int = setting(1, "networks per draw")


def check(config: TrainTestCorruption) -> None:
    """Raises `InputError` on bad settings."""
    for route in config.routes:
        if route not in _ROUTES:
            raise unknown("--routes", route, _ROUTES)
    for kind in config.kinds:
        if kind not in _NOISE:
            raise unknown("--kinds", kind, _NOISE)
        routes.check(_of_kind(config, kind))
        settings.check(_of_kind(config, kind), config.p_test)
    if len(config.p_test) < 2 or list(config.p_test) != sorted(set(config.p_test)):
        raise InputError(
            f"`--p_test` must be two or more rising levels, got {config.p_test}."
        )


def _of_kind(config: TrainTestCorruption, kind: str) -> TrainTestCorruption:
    return dataclasses.replace(config, corruption=kind, noise=_NOISE[kind])


def cells(config: TrainTestCorruption) -> list[Cell]:
    """One cell per kind and level of training, route and training subset."""
    found = [c for k in config.kinds for c in routes.cells(_of_kind(config, k))]
    asked = {"p_test": list(config.p_test), "kinds": list(config.kinds)}
    # the law of copies has as many as networks see
    law = {"epochs": config.epochs, "noise_regime": config.noise_regime}
    return [
        Cell(
            {
                **c.settings,
                **asked,
                **(law if c.settings["route"] == "resummed" else {}),
            }
        )
        for c in found
    ]


def compute(
    config: TrainTestCorruption, cell: Cell
) -> tuple[Row, dict[str, np.ndarray]]:
    """Computes accuracies (kind of test corruption, its level, draw)."""
    settled = settings.settled(config, cell)
    p, subset = cell.settings["p"], cell.settings["subset"]
    problem, key = (
        settings.problem(settled, subset),
        settings.corruption_key(settled, subset),
    )
    noise = settings.corruption(settled, p)
    tests = [
        [settings.corruption(_of_kind(config, kind), level) for level in config.p_test]
        for kind in config.kinds
    ]
    route = {"online": _online, "resummed": _copies, "network": _networks}[
        cell.settings["route"]
    ]
    accuracies, row = route(settled, noise, tests, problem, key)
    return row, {"accuracies": accuracies}


def _online(config, noise, tests, problem, key) -> tuple[np.ndarray, Row]:
    """Of one network, with the noise of the test images averaged over."""
    asked = _on_tests(tests, problem, key)
    law = online.outputs(config, noise, asked if float(noise.p) == 0 else problem, key)
    if isinstance(law, theory.OnlineLaw):
        return _at_levels(law.averaged(1), theory.online_at, tests, problem)
    # of training images without noise: the kernel, at one copy of the test images
    right = law.averaged(1).per_point(asked.labels_test)
    shape = len(tests), len(tests[0]), 1
    return np.asarray(right).reshape(*shape, -1).mean(axis=-1), {"doubts": ""}


def _copies(config, noise, tests, problem, key) -> tuple[np.ndarray, Row]:
    """The same of a network that learns as many copies of every image to the end."""
    # without noise the copies of an image are one
    noisy = config.noise_regime == "fresh" and float(noise.p) > 0
    clean = theory.resummed(
        settings.architecture(config),
        noise,
        problem,
        copies=config.epochs if noisy else 1,
    ).averaged(1)
    return _at_levels(clean, theory.resummed_at, tests, problem)


def _at_levels(clean, at, tests, problem) -> tuple[np.ndarray, Row]:
    """Accuracies (kind of test corruption, its level, 1) of a law, and its doubts."""
    accuracies, doubts = [], set()
    for test in itertools.chain(*tests):
        law = at(clean, problem.x_test, test)
        accuracies.append(law.accuracy(problem.labels_test))
        doubts |= set(law.diagnostics["doubts"])
    shape = (len(tests), len(tests[0]), 1)
    return np.array(accuracies).reshape(shape), {"doubts": "; ".join(sorted(doubts))}


def _on_tests(tests, problem, key) -> theory.Problem:
    """The problem with one corrupted copy of the test images at every level."""
    images = [
        theory.corrupt(test, jax.random.fold_in(key, number), 0, problem.x_test)
        for number, test in enumerate(itertools.chain(*tests))
    ]
    return dataclasses.replace(
        problem,
        x_test=jnp.concatenate(images),
        labels_test=jnp.tile(problem.labels_test, len(images)),
    )


def _networks(config, noise, tests, problem, key) -> tuple[np.ndarray, Row]:
    """Of single networks, on one corrupted copy of the test images at every level."""
    asked, count = _on_tests(tests, problem, key), len(problem.labels_test)
    found = ensemble.measure(
        settings.network(config, problem.num_classes),
        noise,
        asked,
        draws=config.draws,
        inits=config.inits,
        key=key,
        config=settings.training(config),
    )
    right = np.asarray(found.decisions(1)) == np.asarray(asked.labels_test)
    per_draw = right.reshape(*right.shape[:2], -1, count).mean(axis=(1, 3))
    return per_draw.T.reshape(len(tests), len(tests[0]), -1), {}


def areas(p_test: ArrayLike, accuracies: np.ndarray) -> np.ndarray:
    """Area under the curves over p_test, axis 1: mean accuracy, (kind, draw)."""
    levels = np.asarray(p_test, float)
    return np.trapezoid(accuracies, levels, axis=1) / (levels[-1] - levels[0])


def _found(directory: RunDirectory, rows: Sequence[Row]):
    """Accuracies (level of training, kind, level, draw) by kind and route."""
    found: dict[tuple[str, str], dict[float, np.ndarray]] = {}
    for row in rows:
        by_level = found.setdefault((row["corruption"], row["route"]), {})
        array = directory.arrays(row)["accuracies"]
        earlier = by_level.get(row["p"])
        by_level[row["p"]] = (
            array if earlier is None else np.concatenate([earlier, array], axis=-1)
        )
    return {
        at: (
            np.array(sorted(by_level)),
            np.array([by_level[p] for p in sorted(by_level)]),
        )
        for at, by_level in found.items()
    }


def table(directory: RunDirectory, rows: Sequence[Row]) -> str:
    """Area under the accuracy by level of training, for all pairs of kinds."""
    found, p_test = _found(directory, rows), rows[0]["p_test"]
    lines = []
    for test, kind in enumerate(rows[0]["kinds"]):
        for (train, route), (levels, accuracies) in found.items():
            values = np.stack([areas(p_test, each)[test] for each in accuracies])
            mean = values.mean(axis=1)
            best = int(mean.argmax())
            where = "inside" if 0 < best < len(levels) - 1 else "at the edge"
            lines += [
                "",
                f"area under the accuracy of {route}: train {train}, test {kind}",
                "p_train " + "".join(f"{p:>8g}" for p in levels),
                "area    " + "".join(f"{value:>8.4f}" for value in mean),
            ]
            if values.shape[1] > 1:
                lines.append(
                    "±       "
                    + "".join(f"{theory.standard_error(v):>8.4f}" for v in values)
                )
            lines.append(
                f"best p_train {levels[best]:g}, {where}; area - area at p_train "
                f"{levels[0]:g}: {mean[best] - mean[0]:+.4f}"
            )
    return "\n".join([*lines, *_beside_source(directory, rows), ""])


def _beside_source(directory: RunDirectory, rows: Sequence[Row]) -> list[str]:
    """Areas beside the source's; none in another setting, or not from 0 to 1."""
    published = reference.read("train_test_corruption")
    p_test = rows[0]["p_test"]
    same = matching(rows, published["setting"])
    if not same or (p_test[0], p_test[-1]) != (0, 1):
        return []
    lines = []
    kind = rows[0]["kinds"].index(published["setting"]["corruption"])
    ((levels, accuracies),) = _found(directory, same).values()
    for entry in published["values"]:
        for each in accuracies[levels == entry["p"]]:
            own = areas(p_test, each)[kind]
            error = f" +- {theory.standard_error(own):.4f}" if own.size > 1 else ""
            shown = reference.verdict(entry, float(own.mean()))
            lines.append(f"{entry['p']:>6g}  {shown}{error}")
    return ["", published["source"], "p_train  source  own", *lines] if lines else []


def figure(directory: RunDirectory, rows: Sequence[Row]):
    """Accuracies as maps, a row for each kind; then the areas."""
    from matplotlib.figure import Figure

    found, p_test = _found(directory, rows), np.array(rows[0]["p_test"])
    kinds, routes = rows[0]["kinds"], list(dict.fromkeys(r["route"] for r in rows))
    names = {"online": "law", "resummed": "law of copies", "network": "networks"}
    fig = Figure(
        figsize=(3.1 * (len(routes) * len(kinds) + 1), 3.0 * len(kinds)),
        layout="constrained",
    )
    axes = fig.subplots(len(kinds), len(routes) * len(kinds) + 1, squeeze=False)
    for line, train in zip(axes, kinds, strict=True):
        for ax, (test, route) in zip(
            line[:-1], itertools.product(range(len(kinds)), routes), strict=True
        ):
            levels, accuracies = found[train, route]
            image = ax.pcolormesh(
                p_test, levels, accuracies[:, test].mean(axis=-1),
                vmin=0, vmax=1, cmap="viridis", shading="nearest",
            )  # fmt: skip
            ax.set_title(f"{names[route]}: tested on\n{kinds[test]}", fontsize="small")
            ax.set_xlabel("p of test images")
        line[0].set_ylabel(f"p of training images,\n{train}")
        for test, route in itertools.product(range(len(kinds)), routes):
            levels, accuracies = found[train, route]
            values = np.stack([areas(p_test, each)[test] for each in accuracies])
            style = {"network": "o", "online": "-", "resummed": ":"}[route]
            line[-1].plot(
                levels, values.mean(axis=1), style, ms=4,
                color=plots.PALETTE[test],
                label=f"{names[route]}, {kinds[test]}",
            )  # fmt: skip
        line[-1].set_xlabel("p of training images")
        line[-1].set_title("area under the accuracy", fontsize="small")
    fig.colorbar(image, ax=axes[:, :-1], label="accuracy", shrink=0.8)
    handles, labels = axes[-1, -1].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
    about = settings.title(rows[0], corruption="two kinds by unit noise")
    fig.suptitle(about, fontsize="medium")
    return fig
