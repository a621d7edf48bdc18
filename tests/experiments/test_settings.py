"""No flag is accepted and ignored: each decides which cells there are, or is refused.

A setting that a script sets itself is `flags.fixed`, and no flag.
"""

import dataclasses
import importlib
import types
import typing

import pytest

from experiments.__main__ import FAMILIES
from experiments.harness.flags import settable
from theory.errors import InputError

SCRIPTS = [name for names in FAMILIES.values() for name in names]
# Other values of the settings that are names.
_OTHERS = {
    "activation": ("tanh", "relu"),
    "corruption": ("additive", "replacement"),
    "noise": ("normal", "rademacher"),
    "normalise": ("centre", "unit"),
    "optimiser": ("momentum", "sgd"),
    "noise_regime": ("fresh", "frozen"),
    "rates": ("standard", "ntk"),
    "parametrisation": ("ntk", "standard"),
    "sweep": ("width", "depth"),
    "budget": ("steps", "samples"),
}
# Settings that decide something only beside others, and those.
_BESIDE = {
    "most_repeats": {"stderr": 0.01},
    "budget": {"batch_sizes": (16, 128)},
    ("certificate", "width"): {"rates": "standard"},
    ("certificate", "biases"): {"rates": "standard"},
    ("adversarial_learning", "classes"): {"dataset": "digits"},
    ("adversarial_learning", "size"): {"dataset": "digits"},
    ("corruption_curve", "n_train"): {"sweep": "width"},
    ("corruption_curve", "epochs"): {"samples": None},
    ("early_stopping", "channels"): {"models": ("cnn",)},
    ("early_stopping", "dense"): {"models": ("cnn",)},
    ("early_stopping", "blocks"): {"models": ("resnet",)},
    ("law_against_kernel", "width"): {"rates": "standard"},
    ("law_against_kernel", "biases"): {"rates": "standard"},
    "universality": {"routes": ("exact", "network")},
}


def _another(name, value, hint):
    """Another value of a setting than this."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else [hint]
    (kind,) = set(kinds) - {types.NoneType}
    if typing.get_origin(kind) is tuple:
        if value and len(value) > 1:
            return value[:-1]
        (one, _) = typing.get_args(kind)
        return (_another(name, value[0] if value else None, one),)
    if kind is bool:
        return not value
    if kind is str:
        return next(v for v in _OTHERS.get(name, ("this", "that")) if v != value)
    return kind(7 if value is None else value + 1)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_flag_decides_something(script):
    experiment = importlib.import_module(f"experiments.{script}").EXPERIMENT
    hints = typing.get_type_hints(experiment.config)
    config = experiment.configure()
    ignored = []
    for name in (field.name for field in settable(config)):
        if name == "data_dir":  # decides where data are, not what they are
            continue
        beside = {}
        for key in (script, name, (script, name)):
            beside |= _BESIDE.get(key, {})
        at = dataclasses.replace(config, **{**beside, name: getattr(config, name)})
        changed = {name: _another(name, getattr(at, name), hints[name])}
        try:
            keys = [
                sorted(cell.key for cell in experiment.cells(each))
                for each in (at, dataclasses.replace(at, **changed))
            ]
        except InputError:
            continue
        if keys[0] == keys[1]:
            ignored.append(name)
    assert not ignored


def test_what_a_script_sets_itself_is_refused():
    experiment = importlib.import_module("experiments.activations").EXPERIMENT
    with pytest.raises(InputError, match="unknown setting of activations 'activation'"):
        experiment.configure("smoke", activation="relu")
