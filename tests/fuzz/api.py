"""Base calls of the public functions, small and right, for `calls.py` to spoil."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from arguments import Argument

import theory
from ntk_corrupt import clusters, curves, data, label_noise, probes, rbm, training
from ntk_corrupt.adversarial import attacks, protocol, two_classes
from ntk_corrupt.clusters import descent, jacobian, theorems
from ntk_corrupt.curves import bootstrap, crossings, finite_size, power_law
from ntk_corrupt.ensembles import measure
from ntk_corrupt.kernels import convolutional, empirical
from ntk_corrupt.label_noise import detection, stopping
from ntk_corrupt.networks import cnn, mlp, two_layer
from ntk_corrupt.spectral import heads, kept_dimensions, truncation
from theory.two_layer import clusters as covariance
from theory.two_layer import perturbations

N, M, D, C = 12, 5, 6, 3


@dataclasses.dataclass(frozen=True)
class Call:
    """A public function and arguments that are right.

    Attributes:
        name: of the function, as a user finds it.
        function: itself.
        arguments: by name.
        fixed: what is passed on as it is.
        unknown: whether the result may hold NaN, for what is not known.
    """

    name: str
    function: Callable[..., Any]
    arguments: dict[str, Argument]
    fixed: dict[str, Any] = dataclasses.field(default_factory=dict)
    unknown: bool = False

    def run(self, **changed: Any) -> Any:
        """Calls the function, with some arguments changed."""
        values = {name: each.value for name, each in self.arguments.items()}
        return self.function(**(values | self.fixed | changed))


def _points(rng, *shape):
    """Multiples of 1/8 of at most 2: half precision holds them."""
    return jnp.asarray(rng.integers(-16, 17, shape) / 8)


def problem(rng) -> theory.Problem:
    """A small problem in float64."""
    return theory.Problem(
        x_train=_points(rng, N, D),
        labels_train=jnp.asarray(np.arange(N) % C),
        x_test=_points(rng, M, D),
        labels_test=jnp.asarray(np.arange(M) % C),
        num_classes=C,
    )


def _pinned(method: str, first: str) -> Callable[..., Any]:
    """A method as a function of its object too."""

    def call(**arguments):
        return getattr(arguments.pop(first), method)(**arguments)

    return call


def calls() -> list[Call]:
    """All of them."""
    rng = np.random.default_rng(0)
    given = problem(rng)
    arch = theory.Architecture(depth=2, activation="erf", w_var=1.5, b_var=0.25)
    noise = theory.Replacement(p=0.75)
    key = jax.random.key(0)
    law = theory.resummed(arch, noise, given)
    draws = theory.exact(arch, noise, given, draws=3, key=key)
    of = {
        "arch": Argument("architecture", arch),
        "corruption": Argument("corruption", noise),
        "problem": Argument("problem", given),
    }
    drawn = {
        "draws": Argument("size", 2),
        "key": Argument("key", key),
        "first_draw": Argument("whole", 1),
    }
    x, z = given.x_train, given.x_test
    tests = Argument("labels", np.arange(M) % C)
    points, others = Argument("points", x), Argument("pixels", z)
    options = {
        "copies": Argument("size", 2),
        "test_corruption": Argument("corruption", theory.Additive(p=0.25), True),
    }
    ridge = {"ridge": Argument("positive", 0.5)}
    found = [
        Call(
            "theory.nngp_ntk",
            theory.nngp_ntk,
            {"x1": points, "x2": others, "arch": of["arch"]},
        ),
        Call(
            "theory.ntk", theory.ntk, {"x1": points, "x2": others, "arch": of["arch"]}
        ),
        Call(
            "theory.nngp", theory.nngp, {"x1": points, "x2": others, "arch": of["arch"]}
        ),
        Call("theory.gram", theory.gram, {"x": points, "arch": of["arch"]}),
        Call("theory.ntk_gram", theory.ntk_gram, {"x": points, "arch": of["arch"]}),
        Call(
            "theory.nngp_ntk_diag",
            theory.nngp_ntk_diag,
            {"x": points, "arch": of["arch"]},
        ),
        Call(
            "theory.ntk_product",
            theory.ntk_product,
            {
                "x1": others,
                "x2": Argument("paired", x),
                "v": Argument("paired", _points(rng, N, 2)),
                "arch": of["arch"],
            },
        ),
        Call(
            "theory.gram_product",
            theory.gram_product,
            {
                "x": Argument("paired", x),
                "v": Argument("paired", _points(rng, N, 2)),
                "arch": of["arch"],
                "kind": Argument("name", "ntk"),
            },
        ),
        Call(
            "theory.first_order",
            theory.first_order,
            of | options | ridge | {"isotropic": Argument("flag", True)},
        ),
        Call(
            "theory.resummed",
            theory.resummed,
            of
            | options
            | ridge
            | {
                "with_init_var": Argument("flag", True),
                "landmarks": Argument("whole", N, True),
            },
        ),
        Call(
            "theory.resummed, for a time",
            theory.resummed,
            of | {"time": Argument("above_zero", 2.0, True)},
        ),
        Call(
            "theory.resummed_at",
            theory.resummed_at,
            {
                "law": Argument("law", law),
                "x_test": others,
                "test_corruption": options["test_corruption"],
            },
        ),
        Call(
            "theory.surrogate",
            theory.surrogate,
            {
                "law": Argument("law", law),
                "corruption": of["corruption"],
                "problem": of["problem"],
            }
            | drawn,
        ),
        Call(
            "theory.exact",
            theory.exact,
            of | options | ridge | drawn | {"with_init_var": Argument("flag", True)},
        ),
        Call(
            "theory.exact, for a time",
            theory.exact,
            of | drawn | {"time": Argument("above_zero", 2.0, True)},
        ),
        Call(
            "theory.exact_iterative",
            theory.exact_iterative,
            of
            | options
            | ridge
            | drawn
            | {
                "refine": Argument("whole", 1),
                "audit_rows": Argument("count", 5),
                "solver": Argument("object", theory.ConjugateGradient(), True),
            },
        ),
        Call(
            "theory.exact_iterative, init_var_at",
            theory.exact_iterative,
            of | drawn | {"init_var_at": Argument("labels", np.array([0, 2, 4]), True)},
        ),
        Call(
            "theory.trajectory",
            theory.trajectory,
            of
            | options
            | drawn
            | {"times": Argument("curve", np.array([0.5, 1.0, 2.0]))},
        ),
        Call(
            "theory.ridge_path",
            theory.ridge_path,
            of | drawn | {"ridges": Argument("curve", np.array([0.5, 1.0, 2.0]))},
        ),
        Call(
            "theory.gain_sign", theory.gain_sign, of | {"orders": Argument("size", 8)}
        ),
        Call(
            "theory.class_mean_scores",
            theory.class_mean_scores,
            {"problem": of["problem"]},
        ),
        Call(
            "theory.corrupt",
            theory.corrupt,
            {
                "corruption": of["corruption"],
                "key": drawn["key"],
                "draw": Argument("whole", 1),
                "x": points,
            },
        ),
        Call(
            "theory.corrupt_copies",
            theory.corrupt_copies,
            {
                "corruption": of["corruption"],
                "key": drawn["key"],
                "draw": Argument("whole", 1),
                "x": points,
                "copies": Argument("size", 2),
            },
        ),
        Call(
            "theory.corrupt_test",
            theory.corrupt_test,
            {
                "test_corruption": of["corruption"],
                "key": drawn["key"],
                "draw": Argument("whole", 1),
                "x": points,
            },
        ),
        Call(
            "OutputLaw.accuracy",
            _pinned("accuracy", "law"),
            {"law": Argument("law", law), "labels": tests},
        ),
        Call(
            "OutputLaw.per_point",
            _pinned("per_point", "law"),
            {"law": Argument("law", law), "labels": tests},
        ),
        Call(
            "OutputLaw.confusion",
            _pinned("confusion", "law"),
            {"law": Argument("law", law), "labels": tests},
        ),
        Call(
            "OutputLaw.averaged",
            lambda law, inits, labels: law.averaged(inits).accuracy(labels),
            {"inits": Argument("count", 2), "labels": tests},
            {"law": law},
        ),
        Call(
            "OutputLaw.cross_cov",
            _pinned("cross_cov", "law"),
            {
                "a": Argument("labels", np.array([0, 1])),
                "b": Argument("labels", np.array([1, 4])),
            },
            {"law": law},
        ),
        Call(
            "OutputLaw.accuracy_std",
            _pinned("accuracy_std", "law"),
            {
                "labels": tests,
                "points": Argument("count", 4),
                "samples": Argument("size", 50),
                "key": Argument("key", key, True),
            },
            {"law": law},
        ),
        Call(
            "Draws.accuracy",
            _pinned("accuracy", "draws"),
            {
                "draws": Argument("draws", draws),
                "labels": tests,
                "inits": Argument("count", 2, True),
            },
        ),
        Call(
            "Draws.accuracies",
            _pinned("accuracies", "draws"),
            {"draws": Argument("draws", draws), "labels": tests},
        ),
        Call(
            "Draws.stderr",
            _pinned("stderr", "draws"),
            {"draws": Argument("draws", draws), "labels": tests},
        ),
        Call(
            "theory.compare",
            theory.compare,
            {
                "first": Argument("law", law),
                "second": Argument("draws", draws),
                "labels": tests,
            },
        ),
        Call(
            "theory.flip_probability",
            theory.flip_probability,
            {
                "law": Argument("law", law),
                "decisions": dataclasses.replace(tests, optional=True),
            },
        ),
        Call(
            "theory.flip_bound",
            theory.flip_bound,
            {
                "law": Argument("law", law),
                "decisions": dataclasses.replace(tests, optional=True),
            },
        ),
        Call(
            "theory.stable",
            theory.stable,
            {"law": Argument("law", law), "level": Argument("share", 0.25)},
        ),
        Call(
            "theory.observed_flips",
            theory.observed_flips,
            {"draws": Argument("draws", draws), "decisions": tests},
        ),
        Call(
            "theory.reliability",
            theory.reliability,
            {
                "predicted": Argument("curve", np.linspace(0, 1, 9)),
                "observed": Argument("curve", np.linspace(0, 1, 9)),
                "trials": Argument("count", 10),
                "confidence": Argument("share", 0.5),
            },
            unknown=True,
        ),
        Call(
            "theory.fit_line",
            theory.fit_line,
            {
                "x": Argument("curve", np.arange(5.0)),
                "y": Argument("curve", np.array([0.0, 1.5, 1.75, 3.0, 5.0])),
                "error": Argument("positive", 0.25),
            },
        ),
        Call(
            "theory.standard_error",
            theory.standard_error,
            {"values": Argument("curve", np.array([0.0, 1.0, 3.0]))},
        ),
        Call(
            "theory.leaky_relu",
            lambda slope, x, arch: theory.ntk_gram(
                x, dataclasses.replace(arch, activation=theory.leaky_relu(slope))
            ),
            {"slope": Argument("number", 0.25)},
            {"x": x, "arch": arch},
        ),
        Call(
            "theory.monomial",
            lambda degree, x, arch: theory.ntk_gram(
                x, dataclasses.replace(arch, activation=theory.monomial(degree))
            ),
            {"degree": Argument("size", 2)},
            {"x": x, "arch": arch},
        ),
        Call(
            "theory.custom",
            lambda terms, curvature_jump, x, arch: theory.nngp(
                x,
                x,
                dataclasses.replace(
                    arch,
                    activation=theory.custom(
                        jnp.tanh, terms=terms, curvature_jump=curvature_jump
                    ),
                ),
            ),
            {"terms": Argument("size", 256), "curvature_jump": Argument("number", 0.0)},
            {"x": x, "arch": arch},
        ),
        Call(
            "Architecture",
            lambda x, **settings: theory.ntk_gram(x, theory.Architecture(**settings)),
            {
                "depth": Argument("count", 2),
                "activation": Argument("name", "relu"),
                "w_var": Argument("positive", 1.5),
                "b_var": Argument("positive", 0.25),
            },
            {"x": x},
        ),
        Call(
            "Replacement",
            lambda p, x, key: theory.corrupt(theory.Replacement(p=p), key, 0, x),
            {"p": Argument("share", 0.5)},
            {"x": x, "key": key},
        ),
        Call(
            "Additive",
            lambda p, x, key: theory.corrupt(theory.Additive(p=p), key, 0, x),
            {"p": Argument("share", 0.5)},
            {"x": x, "key": key},
        ),
        Call(
            "BinaryReplacement",
            lambda p, x, key: theory.corrupt(theory.BinaryReplacement(p=p), key, 0, x),
            {"p": Argument("share", 0.5)},
            {"x": x, "key": key},
        ),
    ]
    return (
        found + _networks(rng, given, arch, noise, key) + _curves() + _pairs(rng, key)
    )


def _networks(rng, given, arch, noise, key) -> list[Call]:
    x, y = given.x_train, np.arange(N) % C
    config = training.TrainConfig(epochs=1, batch_size=5)
    network = mlp.mlp(arch, 4, C)
    params = network.init(key, jnp.asarray(x[:1], jnp.float32))
    machine = rbm.Rbm(
        weights=_points(rng, 3, D) / 8,
        hidden_bias=jnp.zeros(3),
        visible_bias=jnp.zeros(D),
    )
    pixels = Argument("pixels", (x + 2) / 4)
    head = heads.Head(w=_points(rng, C, 4), b=_points(rng, C))
    return [
        Call(
            "ensembles.measure",
            measure,
            {
                "arch": Argument("architecture", arch),
                "corruption": Argument("corruption", noise),
                "problem": Argument("problem", given),
                "width": Argument("size", 4),
                "draws": Argument("size", 1),
                "inits": Argument("size", 2),
                "key": Argument("key", key),
                "config": Argument("object", config),
                "parametrisation": Argument("name", "standard"),
                "copies": Argument("size", 1),
                "first_draw": Argument("whole", 0),
            },
        ),
        Call(
            "TrainConfig",
            lambda epochs, batch_size, learning_rate, loss, optimiser: measure(
                arch,
                noise,
                given,
                width=4,
                draws=1,
                inits=1,
                key=key,
                config=training.TrainConfig(
                    epochs=epochs,
                    batch_size=batch_size,
                    learning_rate=learning_rate,
                    loss=loss,
                    optimiser=optimiser,
                ),
            ),
            {
                "epochs": Argument("count", 1),
                "batch_size": Argument("count", 5),
                "learning_rate": Argument("above_zero", 0.125),
                "loss": Argument("name", "mse"),
                "optimiser": Argument("name", "adam"),
            },
        ),
        Call(
            "networks.mlp",
            lambda **of: mlp.mlp(**of).init(key, jnp.ones((1, D))),
            {
                "arch": Argument("architecture", arch),
                "width": Argument("size", 4),
                "num_classes": Argument("count", C),
                "parametrisation": Argument("name", "standard"),
                "biases": Argument("flag", True),
            },
        ),
        Call(
            "networks.cnn",
            lambda **of: cnn.cnn(**of).init(key, jnp.ones((1, 64))),
            {
                "side": Argument("count", 8),
                "num_classes": Argument("count", C),
                "dense": Argument("size", 4),
                "activation": Argument("name", "relu"),
                "w_var": Argument("positive", 1.5),
                "b_var": Argument("positive", 0.25),
            },
        ),
        Call(
            "kernels.convolutional",
            lambda **of: convolutional.ntk(**of),
            {
                "convolutions": Argument("count", 1),
                "pooled": Argument("flag", True),
                "activation": Argument("name", "relu"),
                "w_var": Argument("positive", 1.5),
                "b_var": Argument("positive", 0.25),
            },
        ),
        Call(
            "empirical.ntk",
            empirical.ntk,
            {"model": Argument("object", network), "x": Argument("pixels", x)},
            {"params": params},
        ),
        Call(
            "empirical.alignment",
            empirical.alignment,
            {
                "one": Argument("paired", x @ x.T),
                "other": Argument("paired", x @ x.T + jnp.eye(N)),
            },
        ),
        Call(
            "empirical.distance",
            empirical.distance,
            {
                "one": Argument("paired", x @ x.T),
                "other": Argument("paired", x @ x.T + jnp.eye(N)),
            },
        ),
        Call(
            "probes.margin",
            probes.margin,
            {
                "outputs": Argument("paired", _points(rng, N, C)),
                "labels": Argument("labels", y),
            },
        ),
        Call(
            "spectral.of_head",
            spectral_of_head,
            {
                "w": Argument("paired", head.w),
                "b": Argument("curve", np.asarray(head.b)),
            },
        ),
        Call(
            "spectral.fit",
            lambda features: truncation.SpectralTruncation.fit(features).shares,
            {"features": Argument("points", _points(rng, N, 4))},
        ),
        Call(
            "spectral.accuracy",
            kept_dimensions.accuracy,
            {
                "decisions": Argument("labels", y),
                "labels": Argument("labels", (y + 1) % C),
            },
        ),
        Call(
            "rbm.hidden", rbm.hidden, {"rbm": Argument("object", machine), "v": pixels}
        ),
        Call(
            "rbm.free_energy",
            rbm.free_energy,
            {"rbm": Argument("object", machine), "v": pixels},
        ),
        Call(
            "rbm.log_likelihood",
            rbm.log_likelihood,
            {"rbm": Argument("object", machine), "v": pixels},
        ),
        Call(
            "rbm.pseudo_likelihood",
            rbm.pseudo_likelihood,
            {"rbm": Argument("object", machine), "v": pixels},
        ),
        Call(
            "rbm.fit",
            rbm.fit,
            {
                "key": Argument("key", key),
                "x": Argument("points", (x > 0).astype(float)),
                "components": Argument("size", 3),
                "k": Argument("count", 1),
                "learning_rate": Argument("above_zero", 0.125),
                "batch_size": Argument("count", 5),
                "epochs": Argument("count", 1),
                "persistent": Argument("flag", False),
            },
        ),
        Call(
            "label_noise.corrupt_labels",
            label_noise.corrupt_labels,
            {
                "labels": Argument("labels", y),
                "share": Argument("share", 0.25),
                "num_classes": Argument("count", C),
                "mode": Argument("name", "uniform"),
                "key": Argument("key", key),
            },
        ),
        Call(
            "data.from_arrays",
            data.from_arrays,
            {
                "x_train": Argument("points", x),
                "labels_train": Argument("labels", y),
                "x_test": Argument("pixels", given.x_test),
                "labels_test": Argument("labels", np.arange(M) % C),
                "normalise": Argument("name", "standardise"),
                "num_classes": Argument("count", C),
                "n_train": Argument("size", N),
                "n_test": Argument("size", 3),
                "seed": Argument("whole", 0),
            },
        ),
        Call(
            "data.gaussian_prototypes",
            data.gaussian_prototypes,
            {
                "num_classes": Argument("count", C),
                "n_train": Argument("size", 9),
                "n_test": Argument("size", 6),
                "d": Argument("size", D),
                "noise_std": Argument("positive", 0.5),
                "normalise": Argument("name", "standardise"),
                "seed": Argument("whole", 0),
            },
        ),
        Call(
            "data.load",
            functools.partial(data.load, "digits"),
            {
                "n_train": Argument("size", 20),
                "n_test": Argument("size", 10),
                "normalise": Argument("name", "standardise"),
                "seed": Argument("whole", 0),
                "size": Argument("size", 4),
            },
        ),
        Call(
            "data.find_duplicates", data.find_duplicates, {"x": Argument("points", x)}
        ),
    ]


def spectral_of_head(w, b):
    """The singular directions of a head of these weights."""
    return truncation.of_head(heads.Head(w=w, b=b)).components


def _curves() -> list[Call]:
    strength = np.linspace(0, 1, 9)
    accuracy = 0.1 + 0.8 / (1 + np.exp((strength - 0.5) / 0.1))
    sizes = np.array([100.0, 200.0, 400.0, 800.0])
    curve, share = Argument("curve", strength), Argument("share", 0.125)
    path = np.array([0.5, 0.25, 0.125, 0.25])
    losses = np.array([0.5, 0.125, 2.0, 0.25, 3.0, 0.375, 0.5, 2.5])
    samples = np.random.default_rng(1).normal(size=(3, 20))
    several = np.stack([accuracy ** (1 + 0.1 * k) for k in range(4)])
    return [
        Call(
            "curves.fit_sigmoid",
            curves.fit_sigmoid,
            {
                "strength": curve,
                "accuracy": Argument("curve", accuracy),
                "chance": share,
            },
        ),
        Call(
            "curves.half_height",
            curves.half_height,
            {
                "strength": curve,
                "accuracy": Argument("curve", accuracy),
                "chance": share,
            },
        ),
        Call(
            "curves.threshold_crossing",
            crossings.threshold_crossing,
            {
                "p": curve,
                "accuracy": Argument("curve", accuracy),
                "threshold": Argument("share", 0.5),
            },
        ),
        Call(
            "curves.power_law",
            power_law.power_law,
            {
                "sizes": Argument("curve", sizes),
                "distance": Argument("curve", sizes**-0.5),
            },
        ),
        Call(
            "curves.bootstrap",
            bootstrap.bootstrap,
            {
                "samples": Argument("points", samples),
                "resamples": Argument("size", 20),
                "level": Argument("share", 0.5),
            },
            {
                "statistic": lambda means: float(np.mean(means)),
                "rng": np.random.default_rng(0),
            },
        ),
        Call(
            "curves.collapse",
            finite_size.collapse,
            {
                "p": curve,
                "accuracy": Argument("paired", several),
                "sizes": Argument("curve", sizes),
                "grid": Argument("count", 5),
            },
            {"p_c": (0.3, 0.7), "nu": (0.5, 2.0)},
            unknown=True,
        ),
        Call("stopping.oracle", stopping.oracle, {"accuracy": Argument("curve", path)}),
        Call(
            "stopping.noisy_validation",
            stopping.noisy_validation,
            {
                "accuracy": Argument("curve", path),
                "patience": Argument("count", 2, True),
            },
        ),
        Call(
            "stopping.loss_gap",
            stopping.loss_gap,
            {
                "train_loss": Argument("curve", path),
                "valid_loss": Argument("curve", path + 0.01),
                "tolerance": Argument("above_zero", 0.125),
            },
        ),
        Call(
            "stopping.distance_budget",
            stopping.distance_budget,
            {
                "distance": Argument("curve", path),
                "budget": Argument("above_zero", 0.3),
            },
        ),
        Call(
            "detection.beyond",
            detection.beyond,
            {"losses": Argument("curve", losses), "threshold": Argument("number", 1.0)},
        ),
        Call(
            "detection.mixture",
            detection.mixture,
            {"losses": Argument("curve", losses)},
        ),
        Call(
            "detection.loss_of_guessing",
            detection.loss_of_guessing,
            {"loss": Argument("name", "mse"), "num_classes": Argument("count", 3)},
        ),
    ]


def _pairs(rng, key) -> list[Call]:
    """Networks of one hidden layer: clusters and adversarial perturbations."""
    x, z = _points(rng, N, D), _points(rng, M, D)
    sign = np.where(np.arange(N) % 2 == 0, 1.0, -1.0)
    net = two_layer.signed(theory.leaky_relu(0.25), D, 4, key=key, dtype=jnp.float64)
    centres = _points(rng, 4, D) + 4 * jnp.eye(4, D)
    slope = Argument("number", 0.25)
    model = clusters.ClusterModel(n=20, d=D)
    taught = {"x": Argument("paired", x), "y": Argument("curve", sign)}
    sample = clusters.draw(model, key=key)
    basis = jacobian.cluster_basis(jnp.arange(N) % 2, 2)
    return [
        Call(
            "perturbations.slope_kernel",
            perturbations.slope_kernel,
            {"x": Argument("points", x), "z": Argument("pixels", z), "slope": slope},
        ),
        Call(
            "perturbations.directions",
            perturbations.directions,
            {"z": Argument("pixels", z), "slope": slope} | taught,
        ),
        Call(
            "perturbations.first_output",
            perturbations.first_output,
            {"z": Argument("pixels", z), "slope": slope} | taught,
        ),
        Call(
            "perturbations.linear_output",
            perturbations.linear_output,
            {"z": Argument("pixels", z), "slope": slope} | taught,
        ),
        Call(
            "attacks.unit",
            attacks.unit,
            {"direction": Argument("points", x), "norm": Argument("name", "l2")},
        ),
        Call(
            "attacks.project",
            attacks.project,
            {
                "r": Argument("points", x),
                "eps": Argument("positive", 0.5),
                "norm": Argument("name", "l2"),
            },
        ),
        Call(
            "attacks.perturb",
            attacks.perturb,
            {
                "net": Argument("object", net),
                "x": Argument("paired", x),
                "targets": Argument("curve", sign),
                "attack": Argument("object", attacks.Attack(eps=0.5)),
            },
        ),
        Call(
            "protocol.draw_targets",
            protocol.draw_targets,
            {
                "y": Argument("curve", sign),
                "kind": Argument("name", "wrong"),
                "key": Argument("key", key),
            },
        ),
        Call(
            "protocol.agreement",
            protocol.agreement,
            {"one": Argument("curve", sign), "two": Argument("curve", sign)},
        ),
        Call(
            "two_classes.gauss",
            two_classes.gauss,
            {
                "n": Argument("size", N),
                "d": Argument("size", D),
                "n_test": Argument("size", M),
                "seed": Argument("whole", 0),
            },
        ),
        Call(
            "two_classes.shifted_gauss",
            two_classes.shifted_gauss,
            {
                "n": Argument("size", N),
                "d": Argument("size", D),
                "n_test": Argument("size", M),
                "seed": Argument("whole", 0),
                "shift": Argument("number", 0.5),
            },
        ),
        Call(
            "two_layer.signed",
            lambda **of: two_layer.signed(theory.leaky_relu(0.25), **of),
            {
                "d": Argument("size", D),
                "m": Argument("size", 4),
                "key": Argument("key", key),
            },
        ),
        Call(
            "two_layer.gaussian",
            lambda **of: two_layer.gaussian(theory.leaky_relu(0.25), **of),
            {
                "d": Argument("size", D),
                "m": Argument("size", 4),
                "key": Argument("key", key),
            },
        ),
        Call(
            "clusters.draw",
            clusters.draw,
            {"model": Argument("object", model), "key": Argument("key", key)},
        ),
        Call(
            "clusters.corrupt",
            clusters.corrupt,
            {
                "data": Argument("object", sample),
                "share": Argument("share", 0.25),
                "mode": Argument("name", "uniform"),
                "key": Argument("key", key),
            },
        ),
        Call("clusters.xor_centres", clusters.xor_centres, {"d": Argument("size", D)}),
        Call(
            "two_layer.cluster_covariance",
            covariance.cluster_covariance,
            {
                "centres": Argument("points", centres),
                "activation": Argument("name", "relu"),
            },
        ),
        Call(
            "two_layer.least_eigenvalue",
            covariance.least_eigenvalue,
            {
                "centres": Argument("points", centres),
                "activation": Argument("name", "relu"),
            },
        ),
        Call(
            "theorems.lipschitz",
            theorems.lipschitz,
            {"activation": Argument("name", "relu")},
        ),
        Call(
            "descent.step_size",
            descent.step_size,
            {
                "network": Argument("object", net),
                "x": Argument("points", x),
                "ridge": Argument("positive", 0.5),
            },
        ),
        Call(
            "descent.loss",
            descent.loss,
            {"outputs": Argument("curve", sign / 2), "y": Argument("curve", sign)},
        ),
        Call(
            "jacobian.left_singular",
            jacobian.left_singular,
            {"gram": Argument("paired", x @ x.T)},
        ),
        Call(
            "jacobian.extremes",
            jacobian.extremes,
            {"gram": Argument("paired", x @ x.T)},
            {"basis": basis},
        ),
    ]
