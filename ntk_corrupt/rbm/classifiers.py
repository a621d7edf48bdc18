"""Classifiers on what Boltzmann machines represent, and on pixels."""

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from ntk_corrupt.rbm.machine import Rbm, check_finite, check_pixels, fit, hidden
from theory.errors import unknown
from theory.numerics.signatures import checked

METHODS = ("rbm_cd", "rbm_pcd", "raw", "class_mean")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RbmConfig:
    """How machines are trained; see `fit`. scikit-learn's has no `k`: one step.

    `classifier_max_iter` is of the logistic regression, with a machine or without.
    """

    components: int = 64
    k: int = 1
    learning_rate: float = 0.05
    batch_size: int = 20
    epochs: int = 15
    classifier_max_iter: int = 1000


class CdRbm(TransformerMixin, BaseEstimator):
    """Our machine, as a step of a scikit-learn pipeline.

    After `fit` it has `rbm_`, and `pseudo_likelihood_` of every epoch.
    """

    def __init__(self, config: RbmConfig | None = None, seed: int = 0):
        """Takes the settings, and a seed of everything."""
        self.config = config
        self.seed = seed

    def fit(self, x, y=None):
        """Trains the machine on images (n, d) in [0, 1]."""
        settings = dataclasses.asdict(self.config or RbmConfig())
        del settings["classifier_max_iter"]
        found = fit(jax.random.key(self.seed), jnp.asarray(x), **settings)
        self.rbm_, self.pseudo_likelihood_ = found
        return self

    def transform(self, x):
        """Returns `hidden` (n, h)."""
        return np.asarray(hidden(self.rbm_, jnp.asarray(x)))


@checked
def machine(step: CdRbm | BernoulliRBM) -> Rbm:
    """Returns the machine that a step of a pipeline has trained."""
    if isinstance(step, CdRbm):
        return step.rbm_
    return Rbm(
        weights=jnp.asarray(step.components_),
        hidden_bias=jnp.asarray(step.intercept_hidden_),
        visible_bias=jnp.asarray(step.intercept_visible_),
    )


def _with_checked_pixels(x):
    check_pixels(x)
    return x


@checked
def features_and_classifier(
    method: str,
    x: Shaped[np.ndarray, "n d"],
    labels: np.ndarray,
    *,
    config: RbmConfig,
    seed: int = 0,
) -> Pipeline:
    """Fits a classifier, with or without a Boltzmann machine before it.

    Args:
        method: "rbm_cd", logistic regression on the hidden units of our machine;
            "rbm_pcd", on those of scikit-learn's, trained with persistent chains;
            "raw", on pixels; "class_mean", the nearest class mean of pixels.
        x: training images in [0, 1].
        labels: their classes.
        config: of the machine, and of the logistic regression.
        seed: of the machine.

    Returns:
        A fitted pipeline with steps "pixels", "rbm" where there is one, "classifier".
        It refuses pixels outside [0, 1], in `predict` too.

    Raises:
        InputError: for arguments that make no sense.
        NumericalError: if a parameter of the machine is not finite.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    steps: list = [("pixels", FunctionTransformer(_with_checked_pixels))]
    if method == "rbm_cd":
        steps.append(("rbm", CdRbm(config, seed)))
    elif method == "rbm_pcd":
        theirs = BernoulliRBM(
            n_components=config.components,
            learning_rate=config.learning_rate,
            batch_size=min(config.batch_size, len(x)),
            n_iter=config.epochs,
            random_state=seed,
        )
        steps.append(("rbm", theirs))
    classes = method == "class_mean"
    last: Any = NearestCentroid()
    if not classes:
        last = LogisticRegression(max_iter=config.classifier_max_iter)
    # In two parts: of a machine that diverged the classifier would say less.
    features = Pipeline(steps).fit(x)
    if "rbm" in features.named_steps:
        check_finite(machine(features["rbm"]), config.learning_rate)
    with warnings.catch_warnings():  # pixels that are black in all images of a class
        warnings.filterwarnings("ignore", ".*within_class_std_dev_")
        last.fit(features.transform(x), labels)
    return Pipeline([*steps, ("classifier", last)])
