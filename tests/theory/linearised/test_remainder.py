"""What a kernel entry has beyond its linear part, against entries of drawn images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import prototypes, x64

import theory
from theory import Additive, Architecture, Replacement, Uniform
from theory.linearised import linearise
from theory.linearised.image_moments import image_moments
from theory.linearised.kernel_rows import kernel_rows
from theory.linearised.training_kernel import measure, moments

DRAWS = 5_000


@pytest.mark.parametrize(
    ("activation", "noise", "kind"),
    [
        pytest.param("erf", Replacement(p=0.9), "standardised", marks=pytest.mark.slow),
        ("relu", Replacement(p=0.9, noise=Uniform(0.0, 1.0)), "unit"),
        pytest.param("gelu", Additive(p=0.9), "standardised", marks=pytest.mark.slow),
    ],
)
def test_covariance_of_entries_less_their_linear_parts(activation, noise, kind):
    d = 60
    arch = Architecture(depth=3, activation=activation, b_var=0.1)
    problem = prototypes((30, 30), n_test=4, d=d, spread=1.0, seed=1, kind=kind)

    @jax.jit
    def expected(arch, noise, problem):
        measured = measure(arch, moments(problem.x_train, arch, noise), jnp.arange(60))
        rows = kernel_rows(arch, measured, image_moments(problem.x_test, arch, None))
        noise_of_k = linearise.noise_of_k(
            arch, measured.train, problem.x_test, problem.x_test
        )
        outer = lambda a: a[:, None] * a[None, :]
        return linearise.remainder(
            noise_of_k, outer(rows.curved.ntk), outer(rows.third.ntk)
        )

    predicted = expected(arch, noise, problem)
    found = np.mean(
        [
            _left(entries, q, k)
            for entries, q, k in _drawn(arch, noise, problem, problem.x_train[::5])
        ],
        axis=0,
    )
    # 12 images, DRAWS of each: .05; derivatives are those of a mean image
    np.testing.assert_allclose(
        found, predicted, rtol=0.2, atol=0.05 * np.diagonal(found).mean()
    )


def _drawn(arch, noise, problem, images):
    """Entries of test points with each image, corrupted again and again, and q, k."""

    def draw(image):
        x = jnp.tile(image, (DRAWS, 1))
        x = theory.corrupt(noise, jax.random.key(0), 0, x)
        q = arch.b_var + arch.w_var * (x**2).mean(axis=1)
        k = arch.b_var + arch.w_var / x.shape[1] * problem.x_test @ x.T
        return theory.nngp_ntk(problem.x_test, x, arch).ntk, q, k

    found = jax.jit(lambda images: jax.lax.map(draw, images))(images)
    return zip(*map(np.asarray, found), strict=True)


def _left(entries, q, k):
    """Covariance of the entries less what q and k explain."""
    # rows go with their scale: products with q are no remainder
    q, k = q - q.mean(), k - k.mean(axis=1, keepdims=True)
    left = []
    for entry, own in zip(entries, k, strict=True):
        explained = np.stack([np.ones_like(q), q, own, q * own, q**2], axis=1)
        left.append(entry - explained @ np.linalg.lstsq(explained, entry)[0])
    return np.cov(np.asarray(left))


def test_many_images_do_not_overflow_the_integers_of_single_precision():
    with x64(False):
        shape = jax.eval_shape(
            lambda arch, noise, x, of: measure(arch, moments(x, arch, noise), of),
            Architecture(depth=2, activation="erf"),
            Replacement(p=0.9),
            jax.ShapeDtypeStruct((60_000, 784), np.float32),
            jax.ShapeDtypeStruct((400,), np.int32),
        )
    assert shape.entries.ntk.shape == (60_000, 400)
