"""Convolutional networks beside perceptrons: pairing, kernels, shifts, a whole run."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from problems import prototypes

import theory
from experiments.cnn_vs_mlp import EXPERIMENT, PRESETS
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.networks.models import cnn_report, cnn_vs_mlp
from experiments.shared import intervals, settings
from experiments.shared import settings as _settings
from ntk_corrupt.ensembles import ensemble
from ntk_corrupt.kernels import convolutional
from ntk_corrupt.networks import cnn, mlp, patches
from theory.architectures import Convolution

SOME = ("cnn", "mlp", "flat_kernel", "mlp_kernel")  # pooling compiles for long
ALL = (*cnn_vs_mlp.NETWORKS, *cnn_vs_mlp.KERNELS)
P = (0.0, 0.4, 0.8, 1.0)
X = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (5, 16)))
EPS = np.finfo(float).eps
# Sums of up to 144 products, through three layers whose slopes are about one.
ROUNDING = 4096 * EPS
# At correlation one an arc cosine knows an angle to the root of that.
KINKED = 64 * EPS**0.5
# Two programs, or two rows of a batch, may decide a tie differently: one image of 20.
TIE = 1.5 / 20
RELU: dict = {"activation": "relu", "w_var": 2.0, "b_var": 0.1}


def tiny(**settings):
    chosen = {"learning_rate": 0.01, **settings}
    return EXPERIMENT.configure("smoke", **chosen)


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "_RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("cnn_vs_mlp")
    config = tiny(models=SOME, n_train=20, n_test=20, epochs=30)
    return workdir, runner.execute(EXPERIMENT, config, workdir=workdir)


# weekly: a whole run; what it is made of is tested always
@pytest.mark.slow
def test_every_model_and_level_is_run(run):
    workdir, rows = run
    assert [(row["model"], row["p"]) for row in rows] == [
        (model, p) for model in SOME for p in P
    ]
    by = {(row["model"], row["p"]): row for row in rows}
    for model in SOME:
        row = by[model, 0.0]
        assert len(row["clean"]) == 2
        # nothing is corrupted at p = 0
        assert row["clean"] == pytest.approx(row["same"], abs=TIE)
    for model in SOME[1:]:  # of ten classes
        assert np.mean(by[model, 0.0]["clean"]) > 0.3
        assert np.mean(by[model, 0.4]["clean"]) > np.mean(by[model, 0.8]["same"])
    text = cnn_report.table(RunDirectory(workdir), rows)
    for part in ("clean test images", "same test images", "cnn - mlp", "expected "):
        assert part in text
    assert "flat_kernel - mlp_kernel" in text
    assert (workdir / "figures" / "cnn_vs_mlp.png").stat().st_size > 10_000


def test_both_networks_see_the_same_images_and_their_own_settings(monkeypatch):
    seen = []

    def measure(arch, noise, problem, **options):
        seen.append((arch, noise, problem, options))
        outputs = jnp.zeros((1, 1, len(problem.labels_test), 10))
        return theory.Draws(
            outputs=outputs, diagnostics={"train_loss": jnp.zeros((1, 1))}
        )

    monkeypatch.setattr(ensemble, "measure", measure)
    config = tiny(n_train=20, n_test=10, channels=(3, 2), dense=5, width=7, epochs=1)
    chosen = [cell for cell in cnn_vs_mlp.cells(config) if cell.settings["p"] == 0.4]
    # only the cell says what to do
    other = dataclasses.replace(config, channels=(1,), dense=1, width=1, epochs=9)
    for cell in chosen:
        cnn_vs_mlp.compute(other, cell)
    nets = {type(each[0]): each[0] for each in seen}
    assert nets[cnn.CNN].channels == (3, 2)
    assert (nets[cnn.CNN].side, nets[cnn.CNN].dense) == (8, (5,))
    assert nets[mlp.MLP].width == 7
    assert len(seen) == 4  # two repeats of each
    for (_, noise, one, how), (_, _, two, to) in zip(seen[:2], seen[2:], strict=True):
        np.testing.assert_array_equal(one.x_train, two.x_train)
        np.testing.assert_array_equal(one.x_test, two.x_test)
        assert how["key"] == to["key"]
        assert how["config"].epochs == to["config"].epochs == 1
        clean, same = np.split(np.asarray(one.x_test), 2)
        changed = (clean != same).mean()
        assert float(noise.p) == 0.4
        assert changed == pytest.approx(0.4, abs=5 * 0.5 / clean.size**0.5)


def test_cells_hold_what_decides_them():
    cells = cnn_vs_mlp.cells(tiny(models=ALL))
    of = {cell.settings["model"]: set(cell.settings) for cell in cells}
    assert of["cnn"] - of["mlp"] == {"channels", "dense"}
    assert of["mlp"] - of["cnn"] == {"width", "depth", "biases"}
    assert of["cnn_kernel"] == of["flat_kernel"]
    assert "convolutions" in of["cnn_kernel"]
    for name in cnn_vs_mlp.KERNELS:  # kernels are not trained
        assert not of[name] & {"epochs", "width", "channels", "optimiser"}


def test_without_convolutions_it_is_the_kernel_of_a_perceptron():
    kernel = convolutional.ntk(0, pooled=False, **RELU)
    arch = theory.Architecture(depth=2, **RELU)
    found = kernel(X, X[:3])
    np.testing.assert_allclose(found, theory.ntk(X, X[:3], arch), rtol=KINKED)


def test_convolutional_kernel_of_patches():
    # the means over positions of the layer of patches, then two layers of one unit each
    def duals(cov, one, two):
        norms = np.sqrt(one * two)
        angle = np.arccos(np.clip(cov / norms, -1, 1))
        nngp = norms * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
        return nngp, (np.pi - angle) / (2 * np.pi)

    def layer(cov, ntk, average):
        own = np.einsum("aa...->a...", cov)
        nngp, slope = duals(cov, own[:, None], own[None, :])
        if average:
            nngp, ntk = nngp.mean(axis=-1), (slope * ntk).mean(axis=-1)
        else:
            ntk = slope * ntk
        cov = 2 * nngp + 0.1
        return cov, cov + 2 * ntk

    seen = patches.patches(X.reshape(-1, 4, 4, 1), Convolution())
    seen = np.asarray(seen).reshape(len(X), 16, 9)
    cov = 2 * np.einsum("aip,bip->abi", seen, seen) / 9 + 0.1
    _, expected = layer(*layer(cov, cov, True), False)
    found = convolutional.ntk(1, pooled=False, **RELU)(X, X)
    np.testing.assert_allclose(found, expected, rtol=KINKED)


def test_kernels_and_the_arrangement_of_pixels():
    x = np.random.default_rng(1).uniform(-1, 1, (23, 16))  # more than a block
    mixed = x[:, np.random.default_rng(2).permutation(16)]
    shifted = np.roll(x.reshape(-1, 4, 4), 1, axis=2).reshape(-1, 16)
    cosine = {}
    for pooled in (False, True):
        kernel = convolutional.ntk(1, pooled=pooled, **RELU)
        one, two, cross = kernel(x, x), kernel(shifted, shifted), kernel(x, shifted)
        assert one.shape == (23, 23)
        part = kernel(x[20:], x[1:3])
        np.testing.assert_allclose(part, one[20:, 1:3], rtol=ROUNDING)
        assert np.abs(kernel(mixed, mixed) - one).max() > 1e-3 * one.max()
        own = np.sqrt(np.diag(one) * np.diag(two))
        cosine[pooled] = np.mean(np.diag(cross) / own)
    # pooling sees shifts inside its windows less
    assert cosine[True] > cosine[False] + 0.01


def made_up(midpoints, *, lead=0.0, levels=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0)):
    """Rows of sigmoids about each repeat's midpoint; the first model's are raised."""
    fall = lambda p, m: 0.1 + 0.8 / (1 + np.exp((p - m) / 0.08))
    return [
        {
            "model": model,
            "p": p,
            "classes": 10,
            "clean": [fall(p, m) + (model == "cnn") * lead for m in of],
            "same": [fall(p, m) + (model == "cnn") * lead for m in of],
        }
        for model, of in midpoints.items()
        for p in levels
    ]


def test_shift_of_the_midpoint():
    base = np.array([0.5, 0.45, 0.55, 0.6, 0.4])
    rows = made_up({"cnn": base + 0.1, "mlp": base})
    by = cnn_report._by_model(rows)
    found = cnn_report.midpoint_shift(by, ("cnn", "mlp"), "clean")
    assert found.value == pytest.approx(0.1, abs=1e-2)
    # repeats are drawn in pairs: what they share does not widen the interval
    assert found.high - found.low < 0.02
    assert cnn_report._sign(found) == "positive"
    other = cnn_report.midpoint_shift(by, ("mlp", "cnn"), "clean")
    assert cnn_report._sign(other) == "negative"
    doubtful = dataclasses.replace(other, failed=other.resamples // 2)
    assert cnn_report._sign(doubtful) == "sign not told"
    mean, error = cnn_report.difference(by, ("cnn", "mlp"), "same")
    gaps = np.array([
        np.subtract(one["same"], two["same"])
        for one, two in zip(by["cnn"], by["mlp"], strict=True)
    ])  # fmt: skip
    np.testing.assert_allclose(mean, gaps.mean(axis=1))
    np.testing.assert_allclose(error, gaps.std(axis=1, ddof=1) / 5**0.5)
    assert not cnn_report._pairs(cnn_report._by_model(rows[:-1]))


@pytest.mark.parametrize(("lead", "holds"), [(0.03, True), (0.01, False)])
def test_what_is_expected_is_computed(lead, holds):
    equal = [0.5, 0.5, 0.5]
    by = cnn_report._by_model(made_up({"cnn": equal, "mlp": equal}, lead=lead))
    (found,) = cnn_report.expected(by)
    assert found.holds == holds
    assert found.own == pytest.approx([lead] * 3)
    assert all("no level here" in end for end in cnn_report._ends(by))
    by["cnn"][4]["same"] = [value - 2 * lead for value in by["cnn"][4]["same"]]
    assert "p = 0.7" in cnn_report._ends(by)[1]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"models": ("cnn", "rnn")}, "unknown --models 'rnn'"),
        ({"models": ("cnn", "cnn")}, "`--models` must be different"),
        ({"p": (0.1, 0.2)}, "`--p` must be at least 4 levels"),
        ({"biases": False}, "`--biases` must be left on"),
        ({"channels": ()}, "`channels` must be positive"),
        (
            {"models": ("cnn_kernel",), "n_train": 600},
            "`--n_train` must be at most 500",
        ),
        ({"models": ("cnn_kernel",), "activation": "tanh"}, "unknown --activation"),
    ],
)
def test_bad_settings(settings, text):
    with raises(text):
        cnn_vs_mlp.check(tiny(**settings))


def test_images_must_be_square(monkeypatch):
    monkeypatch.setattr(_settings, "problem", lambda *_: prototypes(d=20, kind="unit"))
    with raises("`--dataset` must hold square images of one channel"):
        cnn_vs_mlp.check(tiny())


def test_presets():
    for preset in set(PRESETS) - {"mnist", "paper"}:  # other folders
        config = EXPERIMENT.configure(preset)
        cnn_vs_mlp.check(config)
        for cell in cnn_vs_mlp.cells(config):
            assert 0 < cnn_vs_mlp.estimate(config, cell) < 200
    assert settings.problem(config, 0).num_classes == 10
