"""Presets of `adversarial_learning`: the sets and scenarios, and the source's sizes."""

from typing import Any

_NO_PANELS: dict[str, Any] = {
    f"over_{name}": None for name in ("d", "m", "slope", "n", "steps_f", "steps_g")
}
_ADDED: dict[str, Any] = {
    "scenario": "added",
    "targets": "stratified",
    "d": 500,
    "n": 2000,
    "eps": 0.66,
    "rates_f": (0.1,),
    "rates_g": (0.1, 1.0),
}
_GAUSS: dict[str, Any] = {
    **_NO_PANELS,
    "dataset": "gauss",
    "d": 1000,
    "n": 1000,
    "eps": 0.1,
    "steps_f": 200,
    "steps_g": 200,
    "rates_f": (0.1,),
    "rates_g": (0.1,),
    "over_eps": (0.0, 0.01, 0.1),
    "repeats": 3,
}
# The prior work's inputs, arXiv 2402.10470; its loss is a variant.
_ORTHOGONAL: dict[str, Any] = {**_GAUSS, "dataset": "orthogonal", "d": 500, "n": 500}
_IMAGES: dict[str, Any] = {
    **_NO_PANELS,
    "dataset": "digits",
    "n": 200,
    "n_test": 60,
    "eps": 0.14,
    "steps_f": 100,
    "steps_g": 100,
    "rates_f": (0.01, 0.1),
    "rates_g": (0.01, 0.1),
    "map_limit": 4.0,
    "over_eps": (0.0, 0.028, 0.056, 0.14),
}
_MNIST: dict[str, Any] = {
    **_IMAGES,
    "dataset": "mnist",
    "n": 4000,
    "n_test": 1000,
    "rates_f": (0.01,),
    "rates_g": (0.01, 0.001),
    "map_limit": 10.0,
    "repeats": 3,
}
_IMAGES_ADDED: dict[str, Any] = {
    "scenario": "added",
    "targets": "stratified",
    "eps": 0.28,
    "over_eps": (0.0, 0.056, 0.14, 0.28),
}
# The source's targets; it reports the best of the rates.
_SOURCE: dict[str, Any] = {
    "targets": "iid",
    "rates_f": (0.1, 1.0),
    "rates_g": (0.1, 1.0),
    "steps_f": 1000,
    "steps_g": 1000,
    "variants": False,
}
_TENS = tuple(range(10, 101, 10))

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "n": 60,
        "n_test": 50,
        "d": 20,
        "m": 10,
        "eps": 0.1,
        "steps_f": 20,
        "steps_g": 20,
        "rates_f": (0.1,),
        "rates_g": (0.1, 1.0),
        "repeats": 2,
        "over_d": None,
        "over_m": None,
        "over_eps": (0.0, 0.1),
        "over_slope": (0.0, 0.5),
        "over_n": None,
        "over_steps_f": (1, 20),
        "over_steps_g": None,
        "variants": False,  # each compiles programs of its own
        "map_points": 9,
    },
    "cpu": {},
    "added": {
        **_NO_PANELS,
        **_ADDED,
        "over_d": (50, 500),
        "over_eps": (0.0, 0.22, 0.66),
        "repeats": 3,
    },
    "gauss": _GAUSS,
    "gauss_added": {
        **_GAUSS,
        "scenario": "added",
        "targets": "stratified",
        "eps": 3.16,
        "over_eps": (0.0, 1.0, 3.16),
    },
    "orthogonal": _ORTHOGONAL,
    "orthogonal_added": {
        **_ORTHOGONAL,
        "scenario": "added",
        "targets": "stratified",
        "eps": 3.16,
        "over_eps": (0.0, 1.0, 3.16),
    },
    "images": _IMAGES,
    "images_added": {**_IMAGES, **_IMAGES_ADDED},
    "mnist": _MNIST,
    "mnist_added": {**_MNIST, **_IMAGES_ADDED},
    # arXiv 2410.23677, shifted Gauss, perturbations alone
    "paper": {
        **_SOURCE,
        "over_d": _TENS,
        "over_m": (20, 50, 100, 1000),
        "over_eps": (0.0, 0.002, 0.003, 0.004, 0.005, 0.006, 0.01),
        "over_slope": (0.0, 0.25, 0.5, 0.75, 0.99),
        "over_n": (100, 1000, 10_000),
        "over_steps_f": tuple(range(1, 11)),
        "over_steps_g": (1, 3, 5, 10, 20, 30, 100),
    },
    "paper_added": {
        **_SOURCE,
        "scenario": "added",
        "d": 5000,
        "n": 10_000,
        "eps": 0.7,
        "over_d": (10, 100, 200, 500, 1000, 5000),
        "over_m": None,
        "over_eps": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
        "over_slope": None,
        "over_n": (1000, 3000, 10_000),
        "over_steps_f": None,
        "over_steps_g": (1, 5, 10, 20),
    },
    "paper_gauss": {
        **_SOURCE,
        **_NO_PANELS,
        "dataset": "gauss",
        "d": 10_000,
        "n": 10_000,
        "eps": 0.1,
        "over_d": (100, 300, 1000, 2000, 4000, 10_000),
        "over_eps": (0.0, 0.01, 0.02, 0.1),
        "over_slope": (0.0, 0.99),
        "over_n": (1000, 10_000),
    },
    "paper_mnist": {
        **_SOURCE,
        **_NO_PANELS,
        "dataset": "mnist",
        "n": 11_900,
        "eps": 0.14,
        "steps_f": 100,
        "steps_g": 100,
        "rates_f": (0.01, 0.001),
        "rates_g": (0.01, 0.001),
        "map_limit": 10.0,
        "over_eps": (0.028, 0.042, 0.056, 0.07, 0.084, 0.14),
    },
}
# The same set and sizes, with the perturbations added to the inputs.
for _name, _change in (
    ("gauss", {"eps": 10.0, "over_eps": (0.0, 1.0, 2.0, 3.0, 5.0, 10.0)}),
    ("mnist", {"over_eps": (0.0, 0.028, 0.056, 0.084, 0.112, 0.14)}),
):
    PRESETS[f"paper_{_name}_added"] = {
        **PRESETS[f"paper_{_name}"],
        "scenario": "added",
        **_change,
    }
PRESETS["paper_gauss_added"] |= {"over_d": None, "over_slope": None, "over_n": None}
