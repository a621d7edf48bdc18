"""Base calls of networks of one hidden layer: clusters and perturbations."""

import jax
import jax.numpy as jnp
import numpy as np
from arguments import Argument
from base_calls import Call, D, M, N, points

import theory
from ntk_corrupt import clusters
from ntk_corrupt.adversarial import attacks, protocol, two_classes
from ntk_corrupt.clusters import descent, jacobian, theorems
from ntk_corrupt.networks import two_layer
from theory.two_layer import clusters as covariance
from theory.two_layer import perturbations


def calls() -> list[Call]:
    """Networks of one hidden layer: clusters and adversarial perturbations."""
    rng, key = np.random.default_rng(0), jax.random.key(0)
    x, z = points(rng, N, D), points(rng, M, D)
    sign = np.where(np.arange(N) % 2 == 0, 1.0, -1.0)
    net = two_layer.signed(theory.leaky_relu(0.25), D, 4, key=key, dtype=jnp.float64)
    centres = points(rng, 4, D) + 4 * jnp.eye(4, D)
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
                "eps": Argument("length", 0.5),
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
            {"outputs": Argument("stack", sign / 2), "y": Argument("curve", sign)},
        ),
        Call(
            "jacobian.left_singular",
            jacobian.left_singular,
            {"gram": Argument("gram", x @ x.T)},
        ),
        Call(
            "jacobian.extremes",
            jacobian.extremes,
            {"gram": Argument("gram", x @ x.T)},
            {"basis": basis},
        ),
    ]
