"""One network trained on wrong labels: its features at all d, and what is chosen."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn
from jaxtyping import Array, PyTree

from experiments.harness.lines import known
from ntk_corrupt.spectral import (
    band_probes,
    heads,
    kept_dimensions,
    segregation,
    truncation,
)
from ntk_corrupt.spectral.truncation import SpectralTruncation
from theory.keys import stream

WINDOWS = (1, 2, 3)  # epochs or dimensions about the chosen one


class Subsets(NamedTuple):
    """What a network is trained, chosen and tested on.

    Attributes:
        x: training images.
        true: their right labels.
        noisy: those that it is trained on.
        validation: held-out images and their noisy labels.
        test: images and their right labels.
        classes: how many there are.
    """

    x: Array
    true: Array
    noisy: Array
    validation: tuple[Array, Array]
    test: tuple[Array, Array]
    classes: int


def look(
    model: nn.Module,
    params: PyTree,
    seen: Subsets,
    *,
    ridge: float,
    draws: int,
    key: Array,
    end: str | None,
) -> dict[str, Any]:
    """Returns accuracies at d = 0 ... r and what labels explain, of one snapshot.

    Args:
        model: the network.
        params: its parameters.
        seen: images and labels.
        ridge: of the probes.
        draws: random subspaces.
        key: of those.
        end: "start" and "end" add random subspaces, "end" the head's other truncations.
    """
    h, head = heads.split(model, params, seen.x)
    test, truth = heads.split(model, params, seen.test[0])[0], seen.test[1]
    held, labels_held = seen.validation
    held = heads.split(model, params, held)[0]
    fit = SpectralTruncation.fit(h)
    probes = {
        name: band_probes.ridge_head(fit, h, labels, seen.classes, ridge=ridge)
        for name, labels in (("noisy", seen.noisy), ("true", seen.true))
    }
    parts = segregation.segregation(fit, h, seen.true, seen.noisy, seen.classes)
    found = {
        "by_d": kept_dimensions.accuracy(fit.decisions(head, test), truth),
        "by_d_validation": kept_dimensions.accuracy(
            fit.decisions(head, held), labels_held
        ),
        "probe_tail": kept_dimensions.accuracy(
            fit.tail_decisions(probes["noisy"], test), truth
        ),
        "effective_rank": float(fit.effective_rank),
        "rank": int(fit.rank),
        "reaches": [parts.reach(n) for n in ("true", "noise", "noise_beyond")],
    }
    for name, probe in probes.items():
        found[f"probe_{name}"] = kept_dimensions.accuracy(
            fit.decisions(probe, test), truth
        )
    for name, values in vars(parts).items():
        found[f"part_{name}"] = values
    if end:
        found[f"probe_random_{end}"] = band_probes.random_probe_accuracies(
            fit, h, seen.noisy, test, truth, seen.classes,
            draws=draws, key=stream(key, "subspaces"), ridge=ridge,
        )  # fmt: skip
    if end != "end":
        return found
    low, wrong = truncation.of_head(head), (seen.true, seen.noisy)
    return {
        **found,
        "tail": kept_dimensions.accuracy(fit.tail_decisions(head, test), truth),
        "fit_top": segregation.flipped_fit(fit.decisions(head, h), *wrong),
        "fit_tail": segregation.flipped_fit(fit.tail_decisions(head, h), *wrong),
        "low_rank": kept_dimensions.accuracy(low.decisions(head, test), truth),
        "low_rank_validation": kept_dimensions.accuracy(
            low.decisions(head, held), labels_held
        ),
        "projected": fit.random_accuracies(
            head, test, truth, draws=draws, key=stream(key, "projections")
        ),
    }


def together(looks: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Stacks what every snapshot has, and keeps what one has."""
    everywhere = set.intersection(*(set(each) for each in looks))
    found = {name: np.stack([each[name] for each in looks]) for name in everywhere}
    for each in looks:
        found |= {name: np.asarray(each[name]) for name in set(each) - everywhere}
    return dict(sorted(found.items()))


def choices(arrays: Mapping[str, np.ndarray], classes: int) -> dict[str, Any]:
    """Returns the accuracies of every way to choose, of one network.

    "stop" and "truncated" choose by noisy validation labels, "best_epoch" and
    "best_truncated" by the test labels; spreads are standard deviations of the test
    accuracy over k epochs or dimensions to both sides of the choice, k in `WINDOWS`.
    """
    test, last = arrays["test"], arrays["by_d"][-1]
    most = max(1, int(arrays["rank"][-1]))
    curve = last[: most + 1]
    stop = int(np.argmax(arrays["validation"]))
    d = kept_dimensions.best_dimension(arrays["by_d_validation"][-1][: most + 1])
    best = kept_dimensions.best_dimension(curve)
    at = min(classes, most)
    effective = min(most, max(1, round(float(arrays["effective_rank"][-1]))))
    low = kept_dimensions.best_dimension(arrays["low_rank_validation"])
    start, end = arrays["probe_noisy"][0], arrays["probe_noisy"][-1]
    spread = lambda values, i, k: float(values[max(1, i - k) : i + k + 1].std())
    return {
        "full": test[-1],
        "best_epoch": test.max(),
        "epoch_best": int(test.argmax()),
        "stop": test[stop],
        "epoch_stop": stop,
        "stop_late": test[min(stop + 1, len(test) - 1)],
        "truncated": curve[d],
        "d": d,
        "truncated_late": curve[min(d + 1, most)],
        "best_truncated": curve[best],
        "d_best": best,
        "at_classes": curve[at],
        "at_effective_rank": curve[effective],
        "low_rank": arrays["low_rank"][low],
        "d_low_rank": low,
        "projected": float(np.mean(arrays["projected"][:, d])),
        "projected_full": float(arrays["projected"][:, -1].mean()),
        "spread_epochs": [spread(test, stop, k) for k in WINDOWS],
        "spread_d": [spread(curve, d, k) for k in WINDOWS],
        "tail": arrays["tail"][at],
        "fit_tail": known(arrays["fit_tail"][at]),
        "fit_top": known(arrays["fit_top"][at]),
        "untrained_at_classes": start[at],
        "untrained_best": start[1:].max(),
        "untrained_d_best": kept_dimensions.best_dimension(start),
        "untrained_full": start[-1],
        "probe_at_classes": end[at],
        "probe_best": end[1:].max(),
        "probe_d_best": kept_dimensions.best_dimension(end),
        "probe_full": end[-1],
        "probe_true_full": arrays["probe_true"][-1][-1],
        "probe_tail": arrays["probe_tail"][-1][at],
        "probe_random": float(arrays["probe_random_end"][:, at].mean()),
        "untrained_random": float(arrays["probe_random_start"][:, at].mean()),
        "effective_rank": float(arrays["effective_rank"][-1]),
        "effective_rank_start": float(arrays["effective_rank"][0]),
        **known(_segregated(arrays["reaches"])),
    }


def _segregated(reaches: np.ndarray) -> dict[str, float]:
    true, noise, beyond = (float(value) for value in reaches[-1])
    return {
        "reach_true_start": float(reaches[0, 0]),
        "reach_beyond_start": float(reaches[0, 2]),
        "reach_true": true,
        "reach_noise": noise,
        "reach_beyond": beyond,
        "index": noise / true,
        "index_beyond": beyond / true,
    }
