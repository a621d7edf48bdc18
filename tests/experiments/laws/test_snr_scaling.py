"""Signal to noise ratios: estimators against samples, fits against known exponents."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises, within

import theory
from experiments import snr_scaling
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.laws import snr_report
from experiments.shared import settings, snr

LABELS = np.array([0, 1, 2, 0, 1])


def law(seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(5, 3, 4))
    return theory.OutputLaw(
        mean=jnp.asarray(scale * (rng.normal(size=(5, 3)) + 2 * np.eye(3)[LABELS])),
        cov=jnp.asarray(0.1 * np.einsum("nik,njk->nij", root, root)),
        init_var=jnp.asarray(rng.uniform(0.1, 0.5, 5)),
    )


def sampled(of, draws, inits, rng):
    """Outputs of networks that follow the law: (draw, init, point, class)."""
    root = np.linalg.cholesky(np.asarray(of.cov))
    common = np.einsum("nij,knj->kni", root, rng.normal(size=(draws, 5, 3)))
    own = rng.normal(size=(draws, inits, 5, 3))
    own = own * np.sqrt(np.asarray(of.init_var))[:, None]
    return np.asarray(of.mean) + common[:, None] + own


def test_the_quantities_are_what_they_are_called():
    outputs = np.random.default_rng(0).normal(size=(5, 3))
    found = {
        quantity: (snr.weights(quantity, LABELS, 3) * outputs).sum(axis=1)
        for quantity in snr.QUANTITIES
    }
    for row, label in enumerate(LABELS):
        own, others = outputs[row, label], np.delete(outputs[row], label)
        assert found["true class"][row] == own
        np.testing.assert_allclose(found["margin"][row], own - others.mean())


@pytest.mark.parametrize("quantity", snr.QUANTITIES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 12.0])
def test_the_law_knows_what_few_draws_show(quantity, scale):
    # 12: signals of a thousand, beyond the sum over the Poisson mixture
    of, rng = law(scale=scale), np.random.default_rng(1)
    estimates = []
    for _ in range(600):
        draws = theory.Draws(outputs=jnp.asarray(sampled(of, 5, 2, rng)))
        estimates.append(snr.of_draws(draws, LABELS, quantity, inits=2).value)
    expected = snr.of_law(of, LABELS, quantity, inits=2, draws=5).value
    within(np.array(estimates), expected)
    if scale:
        # many draws show the ratio itself, which fewer exaggerate
        many = snr.of_law(of, LABELS, quantity, inits=2, draws=10**6).value
        limit = snr.of_law(of, LABELS, quantity, inits=2, draws=None).value
        np.testing.assert_allclose(many, limit, atol=1e-3)
        assert expected > limit + 0.1


def test_initialisations_are_added_to_kernels():
    of = law(scale=5.0)
    kernel = theory.Draws(
        outputs=jnp.tile(of.mean, (400, 1, 1, 1)),
        init_var=jnp.tile(of.init_var, (400, 1)),
    )
    only = theory.OutputLaw(
        mean=of.mean, cov=jnp.zeros_like(of.cov), init_var=of.init_var
    )
    found = snr.of_draws(kernel, LABELS, "margin", inits=3)
    expected = snr.of_law(only, LABELS, "margin", inits=3, draws=400)
    # a variance of 400 draws at 5 points, 32 times over: to sqrt(2/400/5/32)
    np.testing.assert_allclose(found.value, expected.value, atol=5 * 0.006)


def test_the_jackknife_knows_the_error():
    rng = np.random.default_rng(3)
    labels = np.arange(300) % 3
    means = 2 + 0.5 * rng.normal(size=(300, 3))
    found = []
    for _ in range(300):
        # all points share three numbers of a draw, as test images do
        common = rng.normal(size=(8, 1, 1, 3))
        own = rng.normal(size=(8, 1, 300, 3))
        draws = theory.Draws(outputs=jnp.asarray(means + 0.8 * common + 0.6 * own))
        found.append(snr.of_draws(draws, labels, "true class", inits=1))
    spread = np.std([each.value for each in found], ddof=1)
    error = np.sqrt(np.mean([each.stderr**2 for each in found]))
    # the spread of 300 is known to 4 %; the jackknife of a logarithm errs upwards
    assert 0.85 < error / spread < 1.4


def test_exponents_are_found():
    rng = np.random.default_rng(4)
    n, d = (each.ravel() for each in np.meshgrid([100, 200, 400, 800], [50, 100, 300]))
    exact = 0.7 * np.log(n) + 1.2 * np.log(d) - 9
    found = snr.exponents(n, d, exact)
    assert found is not None
    np.testing.assert_allclose([found.n, found.d], [0.7, 1.2], atol=1e-9)
    inside = 0
    for _ in range(300):
        found = snr.exponents(n, d, exact + 0.1 * rng.normal(size=len(n)))
        assert found is not None
        inside += abs(found.n - 0.7) < found.n_error
    # 95 % of 300, within 5 standard errors of 1.3 %
    assert abs(inside / 300 - 0.95) < 5 * 0.0126
    slope, half, r2 = snr.product_slope(n, d, 0.9 * np.log(n * d) + 1)
    np.testing.assert_allclose([slope, half, r2], [0.9, 0, 1], atol=1e-6)
    assert snr.exponents(n[:3], d[:3], exact[:3]) is None
    assert snr.exponents(n[:4], n[:4], exact[:4]) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = snr_scaling.EXPERIMENT.configure(
        "smoke",
        routes=("first_order", "exact", "network"),
        epochs=4,
        n_trains=(50, 100),
        sizes=(8, 10),
        n_test=40,
    )
    workdir = tmp_path_factory.mktemp("snr")
    return workdir, runner.execute(snr_scaling.EXPERIMENT, config, workdir=workdir)


# weekly: the whole script; its parts, and routes end to end in test_accuracy_curve.py,
# are tested always
@pytest.mark.slow
def test_every_training_set_is_run_with_and_without_biases(run):
    workdir, rows = run
    found = {(r["n_train"], r["pixels"], r["route"], r["biases"]) for r in rows}
    assert len(found) == len(rows) == 2 * 2 * 3 * 2
    by_bias = {}
    for row in rows:
        if row["route"] == "exact" and row["n_train"] == 50 and row["pixels"] == 64:
            outputs = RunDirectory(workdir).arrays(row)["outputs"]
            by_bias[row["biases"]] = outputs.mean()
    # without biases the outputs share a common mode; with them it is the target's .1
    assert abs(by_bias[True] - 0.1) < abs(by_bias[False] - 0.1)
    text = snr_report.table(RunDirectory(workdir), rows)
    assert text.count("exponents of the") == 4
    assert "law within" not in text  # the law was not asked for
    assert (workdir / "figures" / "snr_scaling.png").stat().st_size


def test_cells_of_the_law_are_counted_by_their_errors():
    def of(route, *values):
        rows = [{"key": f"{route}{n}", "n_train": n, "pixels": 9} for n in (1, 2, 3)]
        known = {
            row["key"]: {"margin": snr.Estimate(*value)}
            for row, value in zip(rows, values, strict=True)
        }
        return rows, known

    law, a = of("resummed", (1.0, np.nan), (2.0, np.nan), (3.0, np.nan))
    kernel, b = of("exact", (1.1, 0.06), (2.1, 0.04), (3.0, 0.1))
    networks, c = of("network", (1.3, 0.1), (2.1, 0.04), (3.0, 0.1))
    by_route = {"resummed": law, "exact": kernel, "network": networks}
    lines = snr_report._cells(a | b | c, by_route, "margin")
    assert lines[-3:] == [
        "law within two errors of the kernel: 2 of 3",
        "law within two errors of the networks: 1 of 3",
        # errors of both
        "kernel within two errors of the networks: 3 of 3",
    ]
    assert "-0.300 (-3.0)" in lines[1]


def test_bad_flags_are_refused(tmp_path):
    for changed, text in (
        ({"draws": 1}, "`--draws` must be at least 2, got 1"),
        ({"n_test": None}, "`--n_test` must be the number of test images, got None"),
        ({"rates": "fast"}, "unknown --rates 'fast'"),
    ):
        config = snr_scaling.EXPERIMENT.configure("smoke", **changed)
        with raises(text):
            runner.execute(snr_scaling.EXPERIMENT, config, workdir=tmp_path / "never")
        assert not (tmp_path / "never").exists()


def test_there_are_images_enough_for_its_sizes():
    config = snr_scaling.EXPERIMENT.configure("cpu")
    most = dataclasses.replace(config, n_train=max(config.n_trains), size=14)
    found = settings.problem(most, 0)
    assert found.x_train.shape == (1150, 14 * 14)
    assert np.bincount(np.asarray(found.labels_train)).tolist() == [115] * 10
