"""Classifiers for users of scikit-learn: arrays and labels as they come, fit, predict.

`KernelClassifier` is regression with the kernel of an infinitely wide network, on clean
or corrupted images; `LawClassifier` is the law of what networks trained on corrupted
images say, over all draws of the corruption. Labels are of any kind that scikit-learn
takes, strings too, and images may keep their shape.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

import theory
from ntk_corrupt.data import normalise as normalisations
from theory.errors import InputError, NumericalError, unknown

_KERNELS = {
    "ntk": (theory.ntk_gram, theory.ntk),
    "nngp": (lambda x, arch: theory.nngp(x, x, arch), theory.nngp),
}


class _OfNetworks(ClassifierMixin, BaseEstimator):
    """What both have: an architecture, a normalisation, and classes of any kind."""

    depth: int
    activation: Any
    w_var: float
    b_var: float
    normalise: str

    def _architecture(self) -> theory.Architecture:
        return theory.Architecture(
            depth=self.depth,
            activation=self.activation,
            w_var=self.w_var,
            b_var=self.b_var,
        )

    def _learn_classes(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (n, d) and classes 0 ... c-1 of what `fit` is given."""
        X, y = validate_data(self, _flat(X), y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError("`y` must have 2 classes or more, got one class.")
        return self._normalised(X), labels

    def _inputs(self, X: Any) -> np.ndarray:
        """Inputs (n, d) of what a fitted classifier is given."""
        check_is_fitted(self)
        return self._normalised(
            validate_data(self, _flat(X), dtype=np.float64, reset=False)
        )

    def _normalised(self, X: np.ndarray) -> np.ndarray:
        return normalisations.get(self.normalise)(X)

    def __sklearn_tags__(self):
        """What scikit-learn may give it: images of any shape."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class KernelClassifier(_OfNetworks):
    """Ridge regression of one-hot labels with the kernel of an infinitely wide network.

    f(x) = k(x, X) (k(X, X) + ridge)^{-1} Y, the mean over initialisations of what such
    a network says once it is trained (`kernel="ntk"`) or has a trained last layer
    (`"nngp"`). O(n^3) time and n^2 numbers; kernels in float64 where x64 is enabled.

    Args:
        depth: weight layers; 3 is two hidden layers.
        activation: of the network, as in `theory.Architecture`.
        w_var: weight variance, times fan-in.
        b_var: bias variance.
        kernel: "ntk" or "nngp".
        ridge: added to the diagonal of the kernel, in its units; 0 interpolates.
        normalise: of each input, as in `data.load`; "none" for values that are no
            pixels.
        corruption: what training inputs are corrupted by, once they are normalised;
            None leaves them clean.
        random_state: decides the corrupted copy; an integer.

    Attributes:
        classes_: (c,) labels, sorted.
        dual_coef_: (n, c) weights of the kernel's columns.
        X_fit_: (n, d) inputs that it was trained on, normalised and corrupted.

    Raises:
        InputError: from `fit`, on what makes no sense; it is a ValueError.
        NumericalError: from `fit`, if the kernel is singular.
    """

    def __init__(
        self,
        *,
        depth: int = 3,
        activation: Any = "erf",
        w_var: float = 1.0,
        b_var: float = 0.0,
        kernel: str = "ntk",
        ridge: float = 1e-6,
        normalise: str = "standardise",
        corruption: theory.Corruption | None = None,
        random_state: int = 0,
    ):
        """Takes the settings; `fit` checks them, as scikit-learn wants it."""
        self.depth = depth
        self.activation = activation
        self.w_var = w_var
        self.b_var = b_var
        self.kernel = kernel
        self.ridge = ridge
        self.normalise = normalise
        self.corruption = corruption
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "KernelClassifier":
        """Solves for the weights of inputs `X` (n, ...) with labels `y` (n,)."""
        if self.kernel not in _KERNELS:
            raise unknown("kernel", self.kernel, _KERNELS)
        if not 0 <= self.ridge < np.inf:
            raise InputError(
                f"`ridge` must be finite and not negative, got {self.ridge}."
            )
        X, labels = self._learn_classes(X, y)
        if self.corruption is not None:
            key = jax.random.key(self.random_state)
            X = np.asarray(theory.corrupt(self.corruption, key, 0, jnp.asarray(X)))
        gram = _KERNELS[self.kernel][0](jnp.asarray(X), self._architecture())
        matrix = np.array(gram, np.float64)
        matrix[np.diag_indices_from(matrix)] += self.ridge
        try:
            factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True)
        except np.linalg.LinAlgError:
            raise NumericalError(
                f"the kernel of {len(X)} inputs is singular: raise `ridge` above "
                f"{self.ridge:g}, or drop inputs that occur twice."
            ) from None
        one_hot = np.eye(len(self.classes_))[labels]
        self.dual_coef_ = scipy.linalg.cho_solve(factor, one_hot)
        self.X_fit_ = X
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Returns the outputs (n, c); of two classes their difference (n,)."""
        inputs = jnp.asarray(self._inputs(X))
        kernel = _KERNELS[self.kernel][1]
        rows = kernel(inputs, jnp.asarray(self.X_fit_), self._architecture())
        outputs = np.asarray(rows, np.float64) @ self.dual_coef_
        return outputs[:, 1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs

    def predict(self, X: Any) -> np.ndarray:
        """Returns the label of the largest output of each input, (n,)."""
        outputs = self.decision_function(X)
        two = outputs.ndim == 1
        return self.classes_[(outputs > 0).astype(int) if two else outputs.argmax(1)]


class LawClassifier(_OfNetworks):
    """What networks trained on corrupted images say of clean ones: the resummed law.

    `predict` is the decision of the mean over all draws of the corruption,
    `predict_proba` how often a draw decides for each class, `expected_accuracy` the
    accuracy to expect. Nothing is trained or drawn. See `theory.resummed` for cost and
    validity; `law_.diagnostics["valid"]` tells.

    Args:
        corruption: of the training images, in units of the normalised ones.
        depth: weight layers; 3 is two hidden layers.
        activation: of the network, as in `theory.Architecture`.
        w_var: weight variance, times fan-in.
        b_var: bias variance.
        ridge: added to the diagonal of the kernel, in its units.
        normalise: of each image, as in `data.load`.
        inits: networks that are averaged for each draw; None is all.

    Attributes:
        classes_: (c,) labels, sorted.
        law_: the law, at the first training image.

    Raises:
        InputError: from `fit`, on what makes no sense; it is a ValueError.
    """

    def __init__(
        self,
        corruption: theory.Corruption | None = None,
        *,
        depth: int = 3,
        activation: Any = "erf",
        w_var: float = 1.0,
        b_var: float = 0.0,
        ridge: float = 0.0,
        normalise: str = "standardise",
        inits: int | None = None,
    ):
        """Takes the settings; `fit` checks them, as scikit-learn wants it."""
        self.corruption = corruption
        self.depth = depth
        self.activation = activation
        self.w_var = w_var
        self.b_var = b_var
        self.ridge = ridge
        self.normalise = normalise
        self.inits = inits

    def fit(self, X: Any, y: Any) -> "LawClassifier":
        """Solves the law of clean images `X` (n, ...) with labels `y` (n,)."""
        if self.corruption is None:
            raise InputError(
                "`corruption` must be given, e.g. theory.Replacement(p=0.95): without "
                "one there is no draw to average over; see KernelClassifier."
            )
        X, labels = self._learn_classes(X, y)
        x, labels = jnp.asarray(X), jnp.asarray(labels, jnp.int32)
        problem = theory.Problem(
            x_train=x,
            labels_train=labels,
            x_test=x[:1],
            labels_test=labels[:1],
            num_classes=len(self.classes_),
        )
        law = theory.resummed(
            self._architecture(),
            self.corruption,
            problem,
            ridge=self.ridge,
            with_init_var=self.inits is not None,
        )
        self.law_ = law if self.inits is None else law.averaged(self.inits)
        return self

    def law_at(self, X: Any) -> theory.OutputLaw:
        """Returns the law of the outputs at images `X` (n, ...)."""
        return theory.resummed_at(self.law_, jnp.asarray(self._inputs(X)))

    def predict(self, X: Any) -> np.ndarray:
        """Returns the label of the largest mean output of each image, (n,)."""
        return self.classes_[np.asarray(self.law_at(X).decisions())]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Returns the share of draws that decide for each class, (n, c)."""
        return np.asarray(self.law_at(X).win_probabilities(), np.float64)

    def expected_accuracy(self, X: Any, y: Any) -> float:
        """Returns the accuracy to expect of one draw, on images with labels `y`."""
        unseen = np.setdiff1d(y, self.classes_)
        if unseen.size:
            raise InputError(
                f"`y` must hold fitted labels, got {unseen.tolist()[0]!r}."
            )
        return self.law_at(X).accuracy(np.searchsorted(self.classes_, y))


def _flat(X: Any) -> Any:
    """Images (n, ...) as rows; anything else as it is, for scikit-learn to judge."""
    shape = np.shape(X) if isinstance(X, np.ndarray | jax.Array) else ()
    return np.asarray(X).reshape(shape[0], -1) if len(shape) > 2 else X
