"""Label noise on clusters: settings, points, and the training of all repeats at once.

A repeat has centres, points, wrong labels, initialisation and test points of its own;
they are the same in all parts of the same radius.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness.flags import Config, setting
from ntk_corrupt.clusters import descent
from ntk_corrupt.clusters.descent import Descent, Linearised, Path
from ntk_corrupt.clusters.points import corrupt, draw
from ntk_corrupt.clusters.sets import MODES, ClusterModel
from ntk_corrupt.networks import two_layer
from theory.activations import registry
from theory.kernels import matrices, truncation
from theory.kernels.truncation import truncation_error
from theory.keys import stream
from theory.two_layer import clusters

PARTS = (
    *("training", "distance", "duplicates", "ridge", "covariance"),
    *("bounds", "radius"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterNoise(Config):
    """Settings of the experiment."""

    parts: tuple[str, ...] = setting(PARTS, f"what is run: {', '.join(PARTS)}")
    repeats: int = setting(
        3, "sets of points, each with labels and start of its own", most=10_000
    )
    n: int = setting(400, "training points, in all clusters")
    clusters: int = setting(2, "K, clusters", least=1, most=1000)
    classes: int = setting(
        2,
        "K-bar, classes, no more than clusters; targets are 0 and 1 of two, else "
        "spread evenly over [-1, 1]",
        least=2,
    )
    n_test: int = setting(2000, "fresh points of the same clusters")
    d: int = setting(20, "dimension of the points")
    eps0: float = setting(0.5, "radius of a cluster")
    points: str = setting("sphere", f"in a cluster: {', '.join(MODES)}")
    share: float = setting(0.3, "rho, of each cluster's labels, redrawn uniformly")
    activations: tuple[str, ...] = setting(
        ("relu", "tanh", "softplus"), "of the hidden layer; the first is looked at more"
    )
    width: int = setting(1000, "k, hidden units, an even number")
    widths: tuple[int, ...] = setting((250, 1000, 4000), "beside the limit")
    radii: tuple[float, ...] = setting((0.25, 0.1), "other radii of a cluster")
    early: int = setting(80, "iteration to stop at")
    late: int = setting(4500, "last iteration")
    flips: tuple[float, ...] = setting(
        (0.0, 0.05, 0.1, 0.15, 0.3), "shares of flipped labels; distance from the start"
    )
    flip_width: int = setting(500, "hidden units there")
    flip_late: int = setting(3000, "last iteration there")
    learned: tuple[float, ...] = setting(
        (0.5, 0.35, 0.25, 0.18, 0.125),
        "radii at which wrong labels are learned, and their distance told",
    )
    learned_n: int = setting(
        20, "training points there, half as many in a cluster as dimensions"
    )
    learned_activations: tuple[str, ...] = setting(("relu", "erf"), "activations there")
    ridges: tuple[float, ...] = setting(
        (0.1, 0.3, 1.0, 3.0, 10.0, 30.0), "weights of |W - W0|^2/2 in place of stopping"
    )
    covariances: tuple[str, ...] = setting(
        ("relu", "leaky_relu", "erf", "identity", "tanh", "softplus"),
        "activations whose covariance of centres is computed in three ways",
    )
    samples: int = setting(2_000_000, "of the covariance by Monte Carlo")


def model_of(config: ClusterNoise, eps0: float) -> ClusterModel:
    """The law of the points: clusters take turns at the classes."""
    count = config.classes
    alphas = (0.0, 1.0) if count == 2 else tuple(np.linspace(-1, 1, count).tolist())
    return ClusterModel(
        n=config.n,
        d=config.d,
        eps0=eps0,
        mode=config.points,
        classes=tuple(number % count for number in range(config.clusters)),
        alphas=alphas,
    )


def points(config: ClusterNoise, repeat: int, *, eps0, mode, share, dtype=jnp.float32):
    """Training points, their labels, test points and the key of one repeat."""
    key = jax.random.fold_in(jax.random.key(config.seed), repeat)
    model = model_of(config, eps0)
    train = draw(model, key=key, dtype=dtype)
    test = draw(
        dataclasses.replace(model, n=config.n_test),
        key=stream(key, "test"),
        centres=train.centres,
        dtype=dtype,
    )
    noisy = corrupt(train, share, mode=mode, key=stream(key, "noise"))
    return train, noisy, test, key


def stacked(records):
    """One record of several, on a new first axis. On the host: nothing is compiled."""
    return jax.tree.map(
        lambda *parts: jnp.asarray(np.stack([np.asarray(part) for part in parts])),
        *records,
    )


def unstacked(record, count: int) -> list:
    """The parts of `stacked`."""
    whole = jax.tree.map(np.asarray, record)
    return [
        jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), whole)
        for k in range(count)
    ]


def doubled(tree):
    """A record in float64. On the host: nothing is compiled."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, float)), tree)


def networks(config, name, width, keys, dtype=jnp.float32):
    phi = registry.get(name)
    return [
        two_layer.signed(phi, config.d, width, key=key, dtype=dtype) for key in keys
    ]


def train(nets, sets, steps, *, ridge=0.0) -> tuple[list[Descent], np.ndarray]:
    """All repeats at once, each at its own step size; their paths and step sizes."""
    many = stacked(nets)
    train, noisy, test = (stacked([each[k] for each in sets]) for k in range(3))

    def one(net, x, y, x_test, rate):
        return descent.descend(net, x, y, x_test, steps=steps, rate=rate, ridge=ridge)

    rates = jax.vmap(descent.step_size, (0, 0, None))(many, train.x, ridge)
    paths = jax.vmap(one)(many, train.x, noisy.y, test.x, rates)
    return unstacked(paths, len(nets)), np.asarray(rates)


def recorded(last: int, *others: int) -> np.ndarray:
    """Iterations that are recorded: ten in a factor of ten, and the others."""
    grid = np.round(np.geomspace(1, last, int(10 * np.log10(last)) + 1)).astype(int)
    return np.unique([0, *grid, *others])


def limit(net, train, test) -> Linearised:
    """The infinitely wide network, at the start of this one, in float64."""
    arch = clusters.fixed_output(net.activation, train.x.shape[1])
    x, x_test = (part.x.astype(jnp.float64) for part in (train, test))
    truncation.check_truncation(arch, float(truncation_error(x, arch)))
    return dataclasses.replace(
        descent.at_start(net, train.x, test.x).astype(jnp.float64),
        kernel=matrices.ntk_gram(x, arch),
        rows=matrices.ntk(x_test, x, arch),
    )


def curves(path: Path, train, noisy, test) -> dict[str, np.ndarray]:
    """Errors, loss and distance over the iterations."""
    return jax.tree.map(np.asarray, _curves(path, train, noisy, test))


@jax.jit
def _curves(path: Path, train, noisy, test):
    dtype = path.outputs.dtype
    alphas, y = train.alphas.astype(dtype), noisy.y.astype(dtype)
    decided = descent.decide(path.outputs, alphas)
    on_test = descent.decide(path.test_outputs, alphas)
    wrong = lambda found, labels: (found != labels[None]).mean(axis=1)
    return {
        "noisy": wrong(decided, noisy.labels),
        "truth": wrong(decided, train.labels),
        "test": wrong(on_test, test.labels),
        "loss": descent.loss(path.outputs, y).sum(axis=1),
        "distance": path.distance,
    }
