"""Probes: what is measured on every trained network beside its outputs.

A probe is called as `probe(model, params, key)` inside the compiled program of an
ensemble, once for each network, and returns arrays by name. It is a record: its arrays
are traced, so that another corruption level or other images compile nothing. See also
`ntk_corrupt.probes.margins.Margins`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from ntk_corrupt.kernels import empirical
from ntk_corrupt.networks import layers
from theory.corruption.base import Corruption
from theory.corruption.copies import corrupt
from theory.records import record, static
from theory.renamed import renamed

# (model, parameters, key of this network) -> arrays by name
Probe = Callable[[nn.Module, PyTree, Array], dict[str, Array]]


@renamed("noise", "corruption")
@record(kw_only=True)
class Accuracies:
    """Accuracy on images corrupted anew, at one or several levels.

    Attributes:
        corruption: the corruption; its leaves may have a leading axis of levels.
        x: clean images.
        labels: their classes.
        key: of the corruption, the same for all networks; None takes each one's own.
        trials: corruptions of each image; None is one, without an axis; static.
        name: of the result, (levels, trials) of what there is of both; static.
    """

    corruption: Corruption
    x: Float[Array, "n d"]
    labels: Int[Array, " n"]
    key: Array | None = None
    trials: int | None = static(default=None)
    name: str = static(default="accuracy_corrupted")

    def __call__(self, model, params, key):
        """Returns the accuracy, the same random numbers at every level."""
        key = key if self.key is None else self.key

        def accuracy(corruption, trial):
            seen = corrupt(corruption, key, trial, self.x)
            right = model.apply(params, seen).argmax(axis=-1) == self.labels
            return right.mean(dtype=self.x.dtype)

        def at(corruption):
            if self.trials is None:
                return accuracy(corruption, 0)
            return jax.lax.map(
                lambda trial: accuracy(corruption, trial), jnp.arange(self.trials)
            )

        several = any(jnp.ndim(leaf) for leaf in jax.tree.leaves(self.corruption))
        found = jax.lax.map(at, self.corruption) if several else at(self.corruption)
        return {self.name: found}


@record(kw_only=True)
class AliveUnits:
    """Share of the units of each hidden layer that respond to any of some images.

    A unit whose activation is the same for all of them is dead: rectifiers on raw
    pixels die in training on heavy noise.

    Attributes:
        x: images, as the network is trained on: corrupted.
    """

    x: Float[Array, "n d"]

    def __call__(self, model, params, key):
        """Returns `alive`, (hidden layers,)."""
        _, taps = layers.tapped(model, params, self.x)
        # what goes into a layer is what the units of the one before send
        hidden = [tap.inputs for tap in taps[1:]]
        responds = lambda units: (units.max(axis=0) > units.min(axis=0)).mean()
        return {"alive": jnp.asarray([responds(units) for units in hidden])}


@record(kw_only=True)
class Parameters:
    """The trained parameters, to go on with them; as many numbers for each network."""

    def __call__(self, model, params, key):
        """Returns `parameters`, flat: `jax.flatten_util.ravel_pytree` undoes it."""
        return {"parameters": ravel_pytree(params)[0]}


@record(kw_only=True)
class Kernel:
    """The empirical NTK at some points.

    Attributes:
        x: the points.
        labels: their classes: `ntk_true` is the kernel of each point's own output.
    """

    x: Float[Array, "n d"]
    labels: Int[Array, " n"]

    def __call__(self, model, params, key):
        """Returns `ntk_trace` and `ntk_true`, each (n, n)."""
        return {
            "ntk_trace": empirical.ntk(model, params, self.x),
            "ntk_true": empirical.ntk(model, params, self.x, self.labels),
        }
