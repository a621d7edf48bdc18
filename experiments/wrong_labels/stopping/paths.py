"""Training on wrong labels as a path: of a network over epochs, of its limit over time.

A path has accuracies on noisy and true training labels, on noisy validation labels and
on test images at every step; networks also losses and distances. What comes back is the
row and the arrays of a cell.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array

import theory
from experiments.harness.lines import known
from experiments.harness.run_directory import Row
from experiments.wrong_labels.images import LabelledImages
from experiments.wrong_labels.stopping import jacobians
from ntk_corrupt.label_noise import detection, stopping
from ntk_corrupt.training import config, epochs, trajectories

_TIMES = 60  # over eight decades
Arrays = dict[str, np.ndarray]


def of_network(
    model: nn.Module,
    how: config.TrainConfig,
    images: LabelledImages,
    key: Array,
    *,
    spectrum: int = 0,
    clusters: int = 0,
) -> tuple[Row, Arrays]:
    """Trains a network, and splits its training labels at the stop and at the end.

    With `clusters` of its images comes the distance budget E+/beta, with a `spectrum`
    that of the Jacobian at so many images of two classes, before and after.
    """
    problem, n = images.problem.astype(jnp.float32), len(images.truth)
    x, labels = images.x.astype(jnp.float32), images.labels
    start, last, seen = None, None, []
    for each in trajectories.walk(
        model, how, problem.x_train, problem.labels_train, key=key
    ):
        start, last = each.params if start is None else start, each.params
        seen.append(jax.device_get(_look(model, how, each.params, start, x, labels)))
    predicted, losses, distance = (np.stack(part) for part in zip(*seen, strict=True))
    valid = slice(n, n + len(images.labels_valid))
    path = {
        **images.accuracies(predicted),
        "loss": losses[:, :n].mean(axis=1),
        "valid_loss": losses[:, valid].mean(axis=1),
        "distance": distance,
    }
    row, arrays = _summary(path, problem.num_classes), {**path, "wrong": images.wrong}
    for at in ("stop", "end"):
        ours = losses[row[at], :n], predicted[row[at], :n]
        arrays[f"losses_{at}"], arrays[f"predicted_{at}"] = ours
        row[f"split_{at}"] = split(
            *ours,
            np.asarray(problem.labels_train),
            np.asarray(images.truth),
            threshold=detection.loss_of_guessing(how.loss, problem.num_classes),
        )
    if clusters:
        row["budget"] = jacobians.budget(model, start, images, clusters)
    if spectrum:
        for at, params in (("start", start), ("end", last)):
            said = jacobians.spectrum(model, params, images, spectrum)
            row[f"spectrum_{at}"], arrays[f"singular_{at}"] = said
    return row, arrays


@functools.partial(jax.jit, static_argnames="model")
def _look(model, how, params, start, x, labels):
    """Classes and losses of all points, and the relative distance."""
    outputs = epochs.predict(model.apply, how, params, x)
    losses = config.LOSSES[how.loss](outputs, labels)
    distance = trajectories.relative_distance(params, start)
    return outputs.argmax(axis=-1).astype(jnp.int32), losses, distance


def split(
    losses: np.ndarray,
    predicted: np.ndarray,
    labels: np.ndarray,
    truth: np.ndarray,
    *,
    threshold: float,
) -> Row:
    """Returns how well losses tell wrong labels, and what correction makes of these.

    `before` is the share of right labels as they are, `relabelled` that of the
    network's classes in place of all, `corrected` in place of those that a rule flags.
    """
    right = lambda said: float((said == truth).mean())
    rules = {
        "threshold": detection.beyond(losses, threshold),
        "mixture": detection.mixture(losses) > 0.5,
    }
    found: Row = {"before": right(labels), "relabelled": right(predicted)}
    for name, flagged in rules.items():
        verdict = detection.detection(losses, flagged, labels != truth)
        said = detection.corrected(labels, predicted, flagged)
        found["auc"] = known(verdict.auc)
        found[name] = {
            "precision": known(verdict.precision),
            "recall": known(verdict.recall),
            "corrected": right(said),
        }
    return found


def of_kernel(
    arch: theory.Architecture, images: LabelledImages, key: Array
) -> tuple[Row, Arrays]:
    """Follows the infinitely wide network, the mean over its initialisations.

    O(n^3) once, n training images; times are in units of the inverse kernel of an image
    with itself, the last is infinity.
    """
    problem = images.problem
    unit = float(theory.nngp_ntk_diag(problem.x_train, arch).ntk.mean())
    times = np.append(np.geomspace(1 / len(images.truth), 1e4, _TIMES), np.inf)
    found = theory.trajectory(
        arch,
        theory.Replacement(p=0.0),  # images are left as they are
        theory.Problem(
            x_train=problem.x_train,
            labels_train=problem.labels_train,
            x_test=images.x,
            labels_test=images.labels,
            num_classes=problem.num_classes,
        ),
        times=times / unit,
        draws=1,
        key=key,
        with_init_var=False,
    )
    path = images.accuracies(np.asarray(found.outputs[0].argmax(axis=-1)))
    return _summary(path, problem.num_classes), {**path, "time": times}


def _summary(path: dict[str, Any], classes: int) -> Row:
    """Where noisy validation and the oracle stop; accuracies there and at the end."""
    steps = {
        "stop": stopping.noisy_validation(path["valid"]),
        "oracle": stopping.oracle(path["test"]),
        "end": len(path["test"]) - 1,
    }
    names = ("noisy", "truth", "valid", "test")
    return {
        "classes": classes,
        **steps,
        **{
            f"at_{at}": {name: float(path[name][step]) for name in names}
            for at, step in steps.items()
        },
    }
