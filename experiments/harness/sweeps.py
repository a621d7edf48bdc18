"""Sweeps over several settings: one at a time around a config, or all at once."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from experiments.harness.flags import Config

C = TypeVar("C", bound=Config)


def variants(
    config: C, values: Mapping[str, Sequence[Any]], *, grid: bool = False
) -> list[C]:
    """Returns the config and those with one factor changed; or all combinations.

    Args:
        config: the one in common, first of the result unless all combinations are.
        values: of each factor, a field of the config; or, for factors of several
            fields, records of them.
        grid: all combinations.
    """
    changes = [
        [value if isinstance(value, Mapping) else {name: value} for value in each]
        for name, each in values.items()
    ]
    if grid:
        chosen = [
            {key: value for each in combined for key, value in each.items()}
            for combined in itertools.product(*changes)
        ]
    else:
        chosen = [{}, *itertools.chain(*changes)]
    return list(dict.fromkeys(dataclasses.replace(config, **each) for each in chosen))
