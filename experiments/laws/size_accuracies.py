"""Accuracy of networks, kernel and law at every number of images and of pixels."""

import itertools
import math
from collections.abc import Sequence

from experiments.harness.run_directory import Row
from experiments.shared import reference, routes, tables
from experiments.shared.rows import matching, pool


def lines(rows: Sequence[Row], inits: int) -> list[str]:
    """Returns accuracies with errors over draws, and those of the source beside.

    Args:
        rows: of `snr_scaling`, any sizes, levels and routes.
        inits: networks that are averaged, in every route.
    """
    names = [r for r in routes.ROUTES if any(row["route"] == r for row in rows)]
    found = [f"{'p':>6} {'N':>6} {'d':>6} {'biases':>7}" + "".join(
        f"{name:>16}" for name in names
    )]  # fmt: skip
    sizes = sorted({(row["p"], row["n_train"], row["pixels"]) for row in rows})
    for (p, n, d), biases in itertools.product(sizes, (False, True)):
        same = matching(rows, {"p": p, "n_train": n, "pixels": d, "biases": biases})
        each = [pool(matching(same, {"route": name}), str(inits)) for name in names]
        if any(each):
            found.append(
                f"{p:>6g} {n:>6} {d:>6} {'trained' if biases else '-':>7}"
                + "".join(map(tables.text, each))
            )
    if len(found) == 1:
        return []
    head = f"accuracy of means of {inits} networks"
    return ["", head, *found, *_beside_source(rows, names, inits)]


def _beside_source(rows: Sequence[Row], names: Sequence[str], inits: int) -> list[str]:
    """The source's accuracies, in its setting, by route."""
    published = reference.read("snr_scaling")
    same = matching(rows, published["setting"])
    found = []
    for name, entry in itertools.product(names, published["accuracies"]):
        size = {"route": name, "n_train": entry["n"], "pixels": entry["d"]}
        own = pool(matching(same, size), str(inits))
        if own is not None:
            found.append(
                f"{name:<12} ({entry['n']}, {entry['d']}) accuracy "
                + reference.verdict(entry, own[0])
                + ("" if math.isnan(own[1]) else f" +- {own[1]:.3f}")
            )
    return found
