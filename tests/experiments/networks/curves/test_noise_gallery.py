"""The gallery of corrupted images: its ratios against samples, and its pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises

import theory
from experiments import noise_gallery
from experiments.harness import runner
from experiments.harness.run_directory import RunDirectory
from experiments.networks.curves.noise_gallery import _configured
from experiments.shared.settings import corruption, corruption_key, problem

COPIES = 20_000


@jax.jit
def many(noise, key, image):
    return theory.corrupt(noise, key, 0, jnp.tile(image, (COPIES, 1)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = noise_gallery.EXPERIMENT.configure("smoke", p=(0.0, 0.5, 0.9, 1.0))
    workdir = tmp_path_factory.mktemp("gallery")
    rows = runner.execute(noise_gallery.EXPERIMENT, config, workdir=workdir)
    return config, workdir, rows


def test_signal_to_noise_is_that_of_many_copies(run):
    config, _, rows = run
    for kind in ("replacement", "clipped_additive"):
        row = next(r for r in rows if (r["corruption"], r["p"]) == (kind, 0.5))
        settings = _configured(config, kind)
        noise = corruption(settings, row["strength"])
        x = np.asarray(problem(settings, 0).x_train[config.image])
        key, sums = corruption_key(settings, 1), []
        for image in (x, np.full_like(x, x.mean())):
            drawn = np.asarray(many(noise, key, image))
            sums.append((drawn.mean(axis=0), drawn.var(axis=0)))
        (mean, var), (grey, _) = sums
        squares, spread = (mean - grey) ** 2, var.sum()
        # the squared distance of two noisy means is too large by their error
        signal = squares.sum() - 2 * spread / COPIES
        # standard errors of the distance and, of as many numbers as are summed, of the
        # spread
        rtol = (8 * (squares * var).sum() / COPIES) ** 0.5 / signal
        rtol += (2 / (COPIES * x.size)) ** 0.5
        np.testing.assert_allclose(row["snr"], signal / spread, rtol=5 * rtol)


def test_no_noise_and_nothing_but_noise(run):
    _, workdir, rows = run
    by = {(row["corruption"], row["p"]): row for row in rows}
    assert by["replacement", 0.0]["snr"] is None
    assert by["additive", 1.0]["snr"] == 0
    # clipped noise is never all there is
    assert ("clipped_additive", 1.0) not in by
    binary = RunDirectory(workdir).arrays(by["binary_replacement", 0.9])["image"]
    assert set(np.unique(binary)) <= {0.0, 1.0}
    for name in ("png", "pdf"):
        assert (workdir / "figures" / f"noise_gallery.{name}").stat().st_size


def test_bad_flags_are_refused(tmp_path):
    for settings, text in (
        ({"image": -1}, "`--image` must be at least 0, got -1"),
        ({"corruptions": ("additiv",)}, "--corruptions"),
        (
            {"corruptions": ("clipped_additive",), "p": (0.0, 1.0)},
            "`--p` must be between 0 and 1 for clipped_additive, got (0.0, 1.0)",
        ),
        ({"p": (1.5,)}, "`p` must be a corruption level in [0, 1], got 1.5"),
    ):
        config = noise_gallery.EXPERIMENT.configure("smoke", **settings)
        with raises(text):
            runner.execute(noise_gallery.EXPERIMENT, config, workdir=tmp_path / "never")
        assert not (tmp_path / "never").exists()
