"""Laws of outputs and draws from them: estimates without bias, averages, refusals."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises, within

from theory.errors import NumericalError
from theory.outputs.draws import Draws
from theory.outputs.law import OutputLaw, check_labels
from theory.outputs.statistics import standard_error

N, C = 2, 3
MEAN = np.array([[1.0, 0.2, -0.3], [0.1, 0.5, 0.4]])
ROOT = np.array(
    [
        [[1.0, 0.0, 0.0], [0.4, 0.8, 0.0], [-0.3, 0.2, 0.5]],
        [[0.3, 0.0, 0.0], [0.3, 0.1, 0.0], [0.0, 0.2, 1.0]],
    ]
)
COV = ROOT @ ROOT.transpose(0, 2, 1)
INIT_VAR = np.array([0.6, 1.7])


def simulate(rng, repeats, draws, inits, init_var=INIT_VAR):
    """Outputs (repeats, draws, inits, N, C) of the law above."""
    corruption = np.einsum(
        "nij,rknj->rkni", ROOT, rng.normal(size=(repeats, draws, N, C))
    )
    own = np.sqrt(init_var)[:, None] * rng.normal(size=(repeats, draws, inits, N, C))
    return jnp.asarray(MEAN + corruption[:, :, None] + own)


def law(**kwargs):
    values = {"mean": MEAN, "cov": COV, "init_var": INIT_VAR} | kwargs
    base = OutputLaw(mean=jnp.zeros(()), cov=jnp.zeros(()), init_var=jnp.zeros(()))
    return dataclasses.replace(base, **jax.tree.map(jnp.asarray, values))


LABELS = np.array([0, 2])
EPS = np.finfo(float).eps
# Of a probability by two programs: 49 nodes, or 4096 samples, of c factors that are
# exponentials of squares up to 37^2.
ROUNDING = 1e4 * EPS


# --- OutputLaw --------------------------------------------------------------------


@pytest.mark.parametrize("inits", [1, 2, 10])
def test_an_average_keeps_the_share_of_the_initialisations(inits):
    averaged = law().averaged(inits)
    np.testing.assert_array_equal(averaged.mean, MEAN)
    for n in range(N):
        expected = COV[n] + INIT_VAR[n] / inits * np.eye(C)
        np.testing.assert_allclose(averaged.cov[n], expected, rtol=1e-14)
    assert averaged.inits == inits
    # nothing is left to average over
    np.testing.assert_array_equal(averaged.init_var, 0.0)
    np.testing.assert_array_equal(averaged.averaged(7).cov, averaged.cov)


def test_a_subclass_stays_what_it_is_when_averaged():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Named(OutputLaw):
        name: str

    named = Named(
        mean=jnp.asarray(MEAN),
        cov=jnp.asarray(COV),
        init_var=jnp.asarray(INIT_VAR),
        name="x",
    )
    averaged = named.averaged(3)
    assert isinstance(averaged, Named)
    assert averaged.name == "x"


def test_accuracy_of_a_law_is_that_of_its_samples():
    one_network = law().averaged(1)
    rng = np.random.default_rng(0)
    outputs = simulate(rng, 200_000, 1, 1)[:, 0, 0]
    right = np.asarray(outputs).argmax(-1) == LABELS
    within(right, one_network.per_point(LABELS), slack=1e-3)
    got = one_network.accuracy(jnp.asarray(LABELS))
    assert isinstance(got, float)
    np.testing.assert_allclose(got, one_network.per_point(LABELS).mean(), rtol=1e-12)


def test_decisions_and_gap_variance():
    np.testing.assert_array_equal(law().decisions(), [0, 1])
    # variance of f_i - mean_j f_j summed over i, by the projection written out
    centre = np.eye(C) - 1 / C
    expected = [np.trace(centre @ cov @ centre) for cov in COV]
    np.testing.assert_allclose(law().gap_variance(), expected, rtol=1e-13)
    shifted = law(cov=COV + 5.0)
    np.testing.assert_allclose(shifted.gap_variance(), expected, rtol=1e-12)


def test_laws_and_draws_are_pytrees():
    doubled = jax.jit(lambda law: jax.tree.map(lambda leaf: 2 * leaf, law))(law())
    np.testing.assert_array_equal(doubled.cov, 2 * COV)
    draws = Draws(outputs=jnp.ones((2, 3, N, C)))
    assert jax.tree.map(jnp.shape, draws).outputs == (2, 3, N, C)
    assert jax.tree.map(lambda leaf: leaf + 1, draws).init_var is None


# --- decisions by class ------------------------------------------------------------


def test_win_probabilities_of_the_classes():
    one = law().averaged(1)
    shares = np.asarray(one.win_probabilities())
    assert shares.shape == (N, C)
    for i in range(C):
        per_point = one.per_point(np.full(N, i))
        np.testing.assert_allclose(shares[:, i], per_point, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=2e-3)
    outputs = simulate(np.random.default_rng(0), 200_000, 1, 1)[:, 0, 0]
    within(jax.nn.one_hot(outputs.argmax(-1), C), shares, slack=1e-3)


@pytest.mark.parametrize("c", [10, pytest.param(20, marks=pytest.mark.slow)])
def test_win_probabilities_sum_to_one(c):
    rng = np.random.default_rng(c)
    root = rng.normal(size=(10, c, c))
    many = OutputLaw(
        mean=jnp.asarray(rng.normal(size=(10, c))),
        cov=jnp.asarray(root @ root.transpose(0, 2, 1) / c),
        init_var=jnp.asarray(np.zeros(10)),
    )
    np.testing.assert_allclose(many.win_probabilities().sum(axis=1), 1, atol=2e-3)


def test_the_confusion_matrix_by_hand():
    # without noise each point is decided for the class of its largest mean: 0, 1
    sure = law(cov=0 * COV)
    confusion = sure.confusion(np.array([0, 2]))
    np.testing.assert_allclose(confusion[0], [1, 0, 0], atol=1e-200)
    assert np.isnan(confusion[1]).all()  # no test point of class 1
    np.testing.assert_allclose(confusion[2], [0, 1, 0], atol=1e-200)
    same = sure.confusion(np.array([2, 2]))
    np.testing.assert_allclose(same[2], [0.5, 0.5, 0], atol=1e-200)
    with raises("`labels` must lie in 0 ... 2, got 0 ... 3"):
        sure.confusion(np.array([0, 3]))


def test_the_diagonal_of_the_confusion_matrix_is_the_accuracy_of_the_classes():
    confusion = law().confusion(LABELS)
    right = law().per_point(LABELS)
    got = confusion[LABELS, LABELS]
    np.testing.assert_allclose(got, right, rtol=0, atol=ROUNDING)


# --- Draws to a law ---------------------------------------------------------------


@pytest.mark.parametrize(("draws", "inits"), [(2, 2), (3, 2), (6, 4)])
def test_the_estimated_law_has_no_bias(draws, inits):
    outputs = simulate(np.random.default_rng(draws), 20_000, draws, inits)
    estimate = jax.jit(jax.vmap(lambda o: Draws(outputs=o).law()))(outputs)
    within(estimate.mean, MEAN)
    within(estimate.cov, COV)
    within(estimate.init_var, INIT_VAR)


def test_the_estimated_law_with_known_init_var_has_no_bias():
    rng = np.random.default_rng(5)
    outputs = simulate(rng, 20_000, 3, 1, init_var=np.zeros(N))
    init_var = jnp.asarray(INIT_VAR * rng.uniform(0.5, 1.5, size=(20_000, 3, N)))
    estimate = jax.jit(jax.vmap(lambda o, v: Draws(outputs=o, init_var=v).law()))(
        outputs, init_var
    )
    within(estimate.cov, COV)
    within(estimate.init_var, INIT_VAR)


def test_one_initialisation_gives_the_law_of_one_network():
    outputs = simulate(np.random.default_rng(6), 20_000, 3, 1)
    estimate = jax.jit(jax.vmap(lambda o: Draws(outputs=o).law()))(outputs)
    within(estimate.cov, COV + INIT_VAR[:, None, None] * np.eye(C))
    assert estimate.init_var is None
    one = Draws(outputs=outputs[0]).law()
    with raises("`averaged` needs `init_var`, which this law does not know"):
        one.averaged(1)
    assert 0 <= one.accuracy(LABELS) <= 1


@pytest.mark.parametrize(("draws", "rank"), [(2, 1), (3, 2), (4, 3), (9, 3)])
def test_the_rank_of_the_estimate_is_told(draws, rank):
    outputs = simulate(np.random.default_rng(7), 1, draws, 1)[0]
    estimate = Draws(outputs=outputs).law()
    assert estimate.diagnostics == {"draws": draws, "inits": 1, "rank": rank}
    for cov in np.asarray(estimate.cov):
        assert np.linalg.matrix_rank(cov, tol=1e-9) == rank


def test_the_estimate_is_that_of_numpy():
    outputs = simulate(np.random.default_rng(8), 1, 5, 1)[0]
    estimate = Draws(outputs=outputs).law()
    for n in range(N):
        expected = np.cov(np.asarray(outputs)[:, 0, n].T)
        # five terms each, of either sign
        rounding = 40 * EPS * expected.max()
        np.testing.assert_allclose(estimate.cov[n], expected, rtol=0, atol=rounding)


# --- averages and accuracies of draws ---------------------------------------------


def test_averages_are_over_consecutive_groups():
    outputs = jnp.arange(2 * 6 * N * C, dtype=float).reshape(2, 6, N, C)
    draws = Draws(outputs=outputs)
    assert draws.averages(2).shape == (2, 3, N, C)
    np.testing.assert_array_equal(
        draws.averages(2)[1, 2], (outputs[1, 4] + outputs[1, 5]) / 2
    )
    np.testing.assert_array_equal(draws.averages(), draws.averages(6))
    np.testing.assert_array_equal(draws.averages(1), outputs)
    assert draws.decisions(3).shape == (2, 2, N)


def test_accuracies_by_hand():
    # two draws, two initialisations, one point: right is class 1
    outputs = jnp.asarray([[[[0.0, 3.0]], [[1.0, 0.0]]], [[[2.0, 0.0]], [[1.0, 2.0]]]])
    draws = Draws(outputs=outputs)
    labels = np.array([1])
    np.testing.assert_array_equal(draws.accuracies(labels, 1), [0.5, 0.5])
    np.testing.assert_array_equal(draws.accuracies(labels), [1.0, 0.0])
    np.testing.assert_array_equal(draws.decisions(), [[[1]], [[0]]])
    assert draws.accuracy(labels) == 0.5
    assert draws.stderr(labels) == pytest.approx(0.5)  # std .707 over sqrt 2
    one = Draws(outputs=outputs[:1])
    assert one.accuracy(labels) == 1.0
    assert np.isnan(one.stderr(labels))


def test_standard_error_is_that_of_scipy():
    values = np.array([0.3, 0.7, 0.4, 0.9])
    np.testing.assert_allclose(
        standard_error(values), np.sqrt(values.var(ddof=1) / 4), rtol=1e-14
    )
    assert np.isnan(standard_error(values[:1]))


@pytest.mark.parametrize("inits", [1, 10])
def test_known_init_var_equals_sampled_initialisations(inits):
    rng, draws, n, c, groups = np.random.default_rng(9), 3, 5, 4, 4000
    base = rng.normal(size=(draws, 1, n, c))
    init_var = rng.uniform(0.3, 2.0, size=(draws, n))
    labels = rng.integers(c, size=n)
    analytic = Draws(outputs=jnp.asarray(base), init_var=jnp.asarray(init_var))
    expected = analytic.accuracies(labels, inits)
    right = np.empty((groups, draws))
    for k in range(draws):
        own = rng.normal(size=(1, inits * groups, n, c))
        outputs = base[k] + np.sqrt(init_var[k])[:, None] * own
        decisions = Draws(outputs=jnp.asarray(outputs)).decisions(inits)[0]
        right[:, k] = (np.asarray(decisions) == labels).mean(axis=1)
    within(right, expected, slack=1e-3)
    # none drawn: the average over infinitely many
    np.testing.assert_allclose(  # 1e-7: frequencies are float32
        analytic.accuracies(labels),
        (base[:, 0].argmax(-1) == labels).mean(axis=1),
        atol=1e-7,
    )


# --- refusals ---------------------------------------------------------------------


def test_numbers_of_initialisations_that_make_no_sense():
    draws = Draws(outputs=jnp.ones((2, 6, N, C)))
    for inits in (0, -3):
        with raises(f"`inits` must be an integer of at least 1, got {inits}"):
            law().averaged(inits)
        with raises(f"`inits` must be an integer of at least 1, got {inits}"):
            draws.averages(inits)
    with raises("`inits` must divide the 6 initialisations of these draws, got 4"):
        draws.accuracies(LABELS, 4)
    with raises("`inits` must divide the 6 initialisations of these draws, got 12"):
        draws.decisions(12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_law_that_is_not_finite_decides_nothing(bad):
    with raises("`init_var` of this law hold NaN or infinity", NumericalError):
        law(init_var=np.array([1.0, bad])).averaged(10)
    with raises(
        "the mean and covariances of this law hold NaN or infinity", NumericalError
    ):
        law(cov=np.full_like(COV, bad)).accuracy(LABELS)
    outputs = np.ones((2, 1, N, C))
    outputs[1, 0, 0, 0] = bad
    draws = Draws(outputs=jnp.asarray(outputs))
    for ask in (draws.accuracy, lambda labels: draws.decisions()):
        with raises("the outputs of these draws hold NaN or infinity", NumericalError):
            ask(LABELS)


def test_one_draw_makes_no_law():
    with raises("`law` needs at least 2 draws, got 1: ask for more draws"):
        Draws(outputs=jnp.ones((1, 4, N, C))).law()


def test_labels_that_do_not_fit():
    draws = Draws(outputs=jnp.ones((2, 1, N, C)), init_var=jnp.ones((2, N)))
    for accuracy in (law().accuracy, law().per_point, draws.accuracies, draws.stderr):
        with raises("`labels` must have one entry per test point, 2, got shape (3,)"):
            accuracy(np.array([0, 1, 2]))
        with raises("`labels` must lie in 0 ... 2, got 0 ... 3"):
            accuracy(np.array([0, 3]))
        with raises("`labels` must lie in 0 ... 2, got -1 ... 2"):
            accuracy(np.array([2, -1]))


@pytest.mark.parametrize("labels", [np.array([0.5, 2.0]), np.array([True, False])])
def test_labels_are_never_rounded(labels):
    # without the tests' own check of types, which users do not have
    with raises(f"`labels` must be integers, got {labels.dtype}"):
        inspect.unwrap(check_labels)(labels, (N, C))
