"""Wrong labels with and without stopping: images, paths, verdicts, a whole run."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from closeness import raises
from problems import prototypes

import theory
from experiments import early_stopping
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.shared import settings as _settings
from experiments.wrong_labels import images
from experiments.wrong_labels.stopping import cells as stopping_cells
from experiments.wrong_labels.stopping import jacobians, paths
from ntk_corrupt.networks import mlp
from ntk_corrupt.training import trajectories
from ntk_corrupt.training.config import TrainConfig

NAMES = ("noisy", "truth", "valid", "test")


def tiny(**settings):
    chosen: dict[str, Any] = {"n_train": 40, "n_valid": 20, "n_test": 30, **settings}
    return early_stopping.EXPERIMENT.configure("smoke", **chosen)


def images_of(config, share, repeat=0):
    return images.images(
        config, n_valid=config.n_valid, share=share, mode=config.mode, repeat=repeat
    )


# Three classes, of which training labels are noisy by hand.
DATA = prototypes(counts=(6, 6, 6), n_test=9, d=8, spread=0.5, dtype=np.float64)
PIXELS, TRUTH = np.asarray(DATA.x_train), np.asarray(DATA.labels_train)
NOISY = (TRUTH + np.isin(np.arange(18), [0, 4])) % 3
IMAGES = images.LabelledImages(
    problem=dataclasses.replace(
        DATA,
        x_train=jax.device_put(PIXELS[:12]),
        labels_train=jax.device_put(NOISY[:12]),
    ),
    truth=jax.device_put(TRUTH[:12]),
    x_valid=jax.device_put(PIXELS[12:]),
    labels_valid=jax.device_put(NOISY[12:]),
)
PARTS = {"noisy": slice(12), "valid": slice(12, 18), "test": slice(18, None)}


def ties(outputs, rounding):
    """Which points two routes may decide differently: shares of `PARTS` by name."""
    second, largest = np.sort(outputs, axis=1)[:, -2:].T
    close = largest - second <= rounding
    shares = {name: close[part].mean() for name, part in PARTS.items()}
    return close, {**shares, "truth": shares["noisy"]}


def test_images_of_all_shares_are_the_same():
    config = tiny(repeats=1)
    clean, half = (images_of(config, share) for share in (0.0, 0.5))
    both = zip(
        (clean.problem.x_train, clean.x_valid, clean.problem.x_test),
        (half.problem.x_train, half.x_valid, half.problem.x_test),
        strict=True,
    )
    for (one, two), count in zip(both, (40, 20, 30), strict=True):
        np.testing.assert_array_equal(one, two)
        assert len(one) == count
    np.testing.assert_array_equal(clean.truth, half.truth)
    np.testing.assert_array_equal(clean.problem.labels_train, clean.truth)
    np.testing.assert_array_equal(clean.problem.labels_test, half.problem.labels_test)
    assert not clean.wrong.any()
    # half of them are drawn anew: at most 20 are wrong, and 1 in 10 of those is right
    assert 10 <= half.wrong.sum() <= 20
    assert (np.asarray(half.labels_valid) != np.asarray(clean.labels_valid)).sum() > 2
    # neither images nor noise come twice
    rows = np.asarray(half.x[:60])
    assert len(np.unique(rows, axis=0)) == 60
    other = images_of(config, 0.5, repeat=1)
    assert (np.asarray(other.x[:60]) != rows).any()
    assert (other.wrong != half.wrong).any()
    # classes are balanced in training and among those held out
    for labels in (clean.truth, clean.labels_valid):
        counts = np.bincount(labels, minlength=10)
        assert counts.max() - counts.min() <= 1


def test_noise_of_held_out_labels_is_their_own():
    config = tiny(n_train=40, n_valid=40, mode="next", shares=(0.5,))
    half, clean = (images_of(config, share) for share in (0.5, 0.0))
    held = np.asarray(half.labels_valid != clean.labels_valid)
    assert held.sum() == half.wrong.sum() == 20
    assert (held != half.wrong).any()


def test_accuracies_by_hand():
    predicted = np.stack([np.asarray(IMAGES.labels), np.zeros(27, int)])
    found = IMAGES.accuracies(predicted)
    assert [found[name][0] for name in ("noisy", "valid", "test")] == [1, 1, 1]
    assert found["truth"][0] == pytest.approx(1 - IMAGES.wrong.mean())
    assert IMAGES.wrong.sum() == 2
    for name, labels in (
        ("noisy", IMAGES.problem.labels_train),
        ("truth", IMAGES.truth),
        ("valid", IMAGES.labels_valid),
        ("test", IMAGES.problem.labels_test),
    ):
        assert found[name][1] == pytest.approx((np.asarray(labels) == 0).mean())


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_path_of_a_network(loss):
    model = mlp.mlp(theory.Architecture(depth=2, activation="erf"), 16, 3)
    how = TrainConfig(loss=loss, batch_size=4, epochs=8, learning_rate=0.02)
    key = jax.random.key(1)
    row, arrays = paths.of_network(model, how, IMAGES, key)
    labels, y = np.asarray(IMAGES.labels), np.eye(3)[np.asarray(IMAGES.labels)]
    snapshots = list(
        trajectories.walk(
            model, how, IMAGES.problem.x_train, IMAGES.problem.labels_train, key=key
        )
    )
    flat = lambda each: np.concatenate(
        [np.ravel(leaf) for leaf in jax.tree.leaves(each.params)]
    )
    start, apply = flat(snapshots[0]), jax.jit(model.apply)
    x = jax.device_put(np.asarray(IMAGES.x, np.float32))
    assert all(len(arrays[name]) == 9 for name in (*NAMES, "loss", "distance"))
    for each in snapshots:
        found: Any = apply(each.params, x)
        outputs = np.asarray(found, float)
        # the same parameters, in sums of another order
        eps = 64 * float(np.finfo(np.float32).eps)
        rounding = eps * max(1, np.abs(outputs).max())
        close, shares = ties(outputs, rounding)
        right = outputs.argmax(axis=1) == labels
        losses = ((outputs - y) ** 2).mean(axis=1)
        if loss == "cross_entropy":
            chance = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
            losses = -np.log(chance[np.arange(27), labels])
        step = each.epoch
        for name, part in PARTS.items():
            expected = pytest.approx(right[part].mean(), abs=shares[name] + 1e-6)
            assert arrays[name][step] == expected, name
        # of squares and of log chances: of slope 2 max(|f - y|, 1) at most
        atol = 2 * max(1, np.abs(outputs - y).max()) * rounding
        for name, part in (("loss", slice(12)), ("valid_loss", slice(12, 18))):
            expected = pytest.approx(losses[part].mean(), abs=atol)
            assert arrays[name][step] == expected, name
        far = np.linalg.norm(flat(each) - start) / np.linalg.norm(start)
        assert arrays["distance"][step] == pytest.approx(far, rel=eps)
        for at in ("stop", "end"):
            if row[at] == step:
                found = arrays[f"losses_{at}"]
                np.testing.assert_allclose(found, losses[:12], rtol=0, atol=atol)
                same = arrays[f"predicted_{at}"] == outputs[:12].argmax(axis=1)
                assert (same | close[:12]).all()
    assert row["end"] == 8
    assert row["stop"] == arrays["valid"].argmax()
    assert row["oracle"] == arrays["test"].argmax()
    for at in ("stop", "oracle", "end"):
        assert row[f"at_{at}"] == {name: arrays[name][row[at]] for name in NAMES}
    np.testing.assert_array_equal(arrays["wrong"], IMAGES.wrong)
    assert row["split_stop"]["before"] == pytest.approx(10 / 12)


def test_path_of_the_kernel():
    arch = theory.Architecture(depth=2, activation="erf", b_var=0.1)
    key = jax.random.key(0)
    row, arrays = paths.of_kernel(arch, IMAGES, key)
    # gradient flow by hand: Theta(x, X) Theta^-1 (1 - exp(-Theta t)) y
    rows = np.asarray(theory.ntk(IMAGES.x, IMAGES.problem.x_train, arch))
    theta = rows[:12]
    values, vectors = np.linalg.eigh(theta)
    eps = 64 * np.finfo(float).eps * values[-1] / values[0]
    y = np.eye(3)[np.asarray(IMAGES.problem.labels_train)]
    unit = np.diag(theta).mean()
    assert len(arrays["time"]) == 61
    assert np.isinf(arrays["time"][-1])
    for step, time in enumerate(arrays["time"]):
        weights = -np.expm1(-values * time / unit) / values
        outputs = rows @ (vectors * weights) @ vectors.T @ y
        expected = IMAGES.accuracies(outputs.argmax(axis=1)[None])
        _, shares = ties(outputs, eps * np.abs(outputs).max())
        for name in NAMES:
            same = pytest.approx(expected[name][0], abs=shares[name] + 1e-6)
            assert arrays[name][step] == same, name
    # at infinite time it fits every label, wrong ones too
    assert row["at_end"]["noisy"] == 1
    assert row["at_end"]["truth"] == pytest.approx(10 / 12)
    assert arrays["noisy"][0] < 1


def test_split_by_hand():
    truth = np.array([0, 1, 2, 0, 1])
    labels = np.array([0, 1, 1, 2, 1])  # the third and fourth are wrong
    predicted = np.array([0, 1, 2, 1, 0])
    losses = np.array([0.1, 0.2, 3.0, 2.5, 2.8])
    found = paths.split(losses, predicted, labels, truth, threshold=1.0)
    assert found["before"] == 3 / 5
    assert found["relabelled"] == 3 / 5
    assert found["auc"] == pytest.approx(5 / 6)
    for rule in ("threshold", "mixture"):
        # the last is flagged for nothing, and made wrong; the third is made right
        assert found[rule]["precision"] == pytest.approx(2 / 3)
        assert found[rule]["recall"] == 1
        assert found[rule]["corrected"] == 3 / 5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("early_stopping")
    config = tiny(models=("mlp", "cnn", "kernel"), losses=("mse",))
    config = dataclasses.replace(config, channels=(2,), dense=8, epochs=8)
    return workdir, runner.execute(early_stopping.EXPERIMENT, config, workdir=workdir)


def test_from_end_to_end(run):
    workdir, rows = run
    assert len(rows) == 3 * 2 * 2
    directory = RunDirectory(workdir)
    for row in rows:
        arrays = directory.arrays(row)
        if row["model"] == "kernel":
            assert len(arrays["time"]) == len(arrays["test"]) == 61
            continue
        assert len(arrays["test"]) == 9
        assert len(arrays["losses_stop"]) == len(arrays["wrong"]) == 40
        # networks of all shares start alike: the test accuracy before training
        (clean,) = (
            other
            for other in rows
            if other["share"] == 0
            and all(other[name] == row[name] for name in ("model", "repeat"))
        )
        assert arrays["test"][0] == directory.arrays(clean)["test"][0]
    text = early_stopping.EXPERIMENT.table(directory, rows)
    for part in ("mlp, mse", "cnn, mse", "infinite width", "oracle"):
        assert part in text
    assert "nan" not in text.split("expected")[0]
    picture = workdir / "figures" / "early_stopping.png"
    assert picture.stat().st_size > 20_000


def test_kernels_alone_are_drawn(run):
    workdir, rows = run
    kernels = [row for row in rows if row["model"] == "kernel"]
    directory = RunDirectory(workdir)
    assert len(early_stopping.EXPERIMENT.figure(directory, kernels).axes) == 2
    assert "expected" not in early_stopping.EXPERIMENT.table(directory, kernels)


def test_cells_hold_what_decides_them():
    cells = stopping_cells.cells(tiny(models=stopping_cells.MODELS))
    of = {cell.settings["model"]: set(cell.settings) for cell in cells}
    assert of["cnn"] - of["mlp"] == {"channels", "dense"}
    assert of["mlp"] - of["cnn"] == {"width", "depth", "biases"}
    assert of["resnet"] - of["lenet"] == {"channels", "blocks"}
    assert of["lenet"] == of["four_layers"] == of["cnn"] - {"channels", "dense"}
    more = stopping_cells.cells(tiny(models=("mlp",), spectrum=5, clusters=3))
    assert set(more[0].settings) - of["mlp"] == {"spectrum", "clusters"}
    assert not of["kernel"] & {"epochs", "loss", "channels", "optimiser"}
    for model in stopping_cells.MODELS:
        assert of[model] >= {"share", "repeat", "mode", "n_valid", "n_train"}
    assert len({cell.key for cell in cells}) == len(cells)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"models": ("mlp", "rnn")}, "unknown --models 'rnn'"),
        ({"models": ("mlp", "mlp")}, "`--models` must be different ones"),
        ({"losses": ()}, "`--losses` must be different ones, got ()"),
        ({"losses": ("hinge",)}, "unknown --losses 'hinge'"),
        ({"mode": "swap"}, "unknown --mode 'swap'"),
        ({"shares": (0.5, 0.2)}, "`--shares` must be rising numbers"),
        ({"shares": (0.5, 1.2)}, "`--shares` must be in [0, 1]"),
        ({"n_valid": 0}, "`--n_valid` must be at least 1, got 0"),
        ({"n_train": 1190}, "must be at most 1"),
        ({"models": ("cnn",), "channels": ()}, "`channels` must be positive"),
        ({"models": ("cnn",), "biases": False}, "`--biases` must be left on"),
    ],
)
def test_bad_settings(settings, text):
    with raises(text):
        stopping_cells.check(tiny(**settings))


def test_convolutions_need_squares(monkeypatch):
    monkeypatch.setattr(_settings, "problem", lambda *_: prototypes(d=20, kind="unit"))
    for model in ("cnn", "resnet"):
        with raises("`--dataset` must hold square images"):
            stopping_cells.check(tiny(models=(model,)))


def test_what_the_jacobian_says():
    # k-means finds three clusters of three classes that are far apart
    moved = jax.device_put(PIXELS[:12] + 50 * np.eye(3, 8)[TRUTH[:12]])
    far = IMAGES._replace(problem=dataclasses.replace(IMAGES.problem, x_train=moved))
    model = mlp.mlp(theory.Architecture(depth=2, activation="erf"), 16, 3)
    x = jax.device_put(np.asarray(far.problem.x_train, np.float32))
    params: Any = model.init(jax.random.key(0), x)
    full = jax.jit(jax.jacobian(lambda p: model.apply(p, x)))(params)
    j = np.concatenate(
        [np.asarray(leaf, float).reshape(12, 3, -1) for leaf in jax.tree.leaves(full)],
        axis=2,
    )
    basis = np.eye(3)[TRUTH[:12]]
    basis = basis / np.linalg.norm(basis, axis=0)
    beta = np.linalg.norm(np.einsum("nk,ncp->kcp", basis, j).reshape(9, -1), ord=2)
    wanted = np.eye(3)[NOISY[:12]] - np.asarray(model.apply(params, x))
    size = sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(params)) ** 0.5
    found = jacobians.budget(model, params, far, 3)
    expected = np.linalg.norm(basis.T @ wanted) / beta / size
    # the power method comes from below, the budget from above
    assert expected * (1 - 1e-4) <= found <= expected * 1.05
    row, values = jacobians.spectrum(model, params, far, 2)
    chosen = jacobians.two_classes(far, 2)
    assert (TRUTH[chosen] == [0, 0, 1, 1]).all()
    apart = j[chosen, 0] - j[chosen, 1]
    np.testing.assert_allclose(
        values, np.linalg.svd(apart, compute_uv=False), rtol=1e-3, atol=1e-3
    )
    assert row["above"] == (values > values[0] / 10).sum()
    assert row["clean"] == pytest.approx(1)  # of four vectors, the first four


@pytest.mark.slow  # guarded by the networks' tests, and by the one above
def test_residual_networks_from_end_to_end(tmp_path):
    config = early_stopping.EXPERIMENT.configure(
        "resnet", n_train=40, n_valid=20, n_test=30, repeats=1, epochs=2,
        batch_size=20, channels=(4,), blocks=(1, 1), losses=("mse",), spectrum=3,
        clusters=5, optimiser="adadelta", learning_rate=1.0,
    )  # fmt: skip
    rows = runner.execute(early_stopping.EXPERIMENT, config, workdir=tmp_path)
    text = early_stopping.EXPERIMENT.table(RunDirectory(tmp_path), rows)
    for part in ("resnet, mse", "E+/beta", "images of two classes", "10 to 20"):
        assert part in text


def test_presets():
    for preset in set(early_stopping.PRESETS) - {
        "mnist",
        "lenet",
        "paper",
    }:  # other folders
        config = early_stopping.EXPERIMENT.configure(preset)
        stopping_cells.check(config)
        for cell in stopping_cells.cells(config):
            assert 0 < stopping_cells.estimate(config, cell) < 200
