"""Classifiers for scikit-learn: against the routes of `theory`, and its own checks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closeness import raises
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

import theory
from ntk_corrupt import data
from ntk_corrupt.data import digits
from ntk_corrupt.estimators import KernelClassifier, LawClassifier
from theory.errors import NumericalError

NOISE = theory.Replacement(p=0.7)
NAMES = np.array([f"digit {i}" for i in range(10)])
RIDGE = 1e-3


@pytest.fixture(scope="module")
def images():
    """Bytes of any shape, with names for labels: 60 to train on, 60 to test on."""
    pool = digits.read_pool()
    train, test = pool.part("train"), pool.part("test")
    return *(part[:60] for part in train), *(part[:60] for part in test)


@pytest.fixture(scope="module")
def problem(images):
    return data.from_arrays(*images)


def test_the_kernel_says_what_the_exact_route_says(images, problem):
    """The same corrupted copy, another code path; strings for labels."""
    x, labels, x_test, labels_test = images
    arch = theory.Architecture(depth=3, activation="erf")
    draws = theory.exact(
        *(arch, NOISE, problem),
        draws=1,
        key=jax.random.key(3),
        ridge=RIDGE,
        with_init_var=False,
    )
    found = KernelClassifier(corruption=NOISE, ridge=RIDGE, random_state=3)
    found.fit(x, NAMES[labels])
    outputs = np.asarray(draws.outputs)[0, 0]
    # condition of the kernel 1e4 at most, in float64
    np.testing.assert_allclose(found.decision_function(x_test), outputs, atol=1e-9)
    np.testing.assert_array_equal(found.predict(x_test), NAMES[outputs.argmax(1)])
    assert found.score(x_test, NAMES[labels_test]) == pytest.approx(
        float(draws.accuracy(problem.labels_test))
    )


def test_two_classes_have_one_output(images):
    x, labels, x_test, _ = images
    both = KernelClassifier(ridge=RIDGE).fit(x, labels % 2)
    outputs = both.decision_function(x_test)
    assert outputs.shape == (60,)
    np.testing.assert_array_equal(both.predict(x_test), (outputs > 0).astype(int))
    assert both.score(x, labels % 2) == 1  # it nearly interpolates


def test_the_law_gets_what_is_fitted_and_answers_in_its_labels(images, monkeypatch):
    """What `test_the_law_says_what_the_resummed_route_says` computes, without a law."""
    x, labels, x_test, _ = images
    seen = {}

    wins = jnp.eye(10)[jnp.arange(60) % 10]
    law = theory.OutputLaw(
        mean=wins, cov=jnp.zeros((60, 10, 10)), init_var=jnp.ones(60), diagnostics={}
    )

    def resummed(arch, corruption, problem, **options):
        seen.update(arch=arch, corruption=corruption, problem=problem, **options)
        return law

    def resummed_at(law, x):
        seen["x_test"] = x
        return law

    monkeypatch.setattr(theory, "resummed", resummed)
    monkeypatch.setattr(theory, "resummed_at", resummed_at)
    found = LawClassifier(NOISE, depth=2, ridge=0.5, inits=4).fit(x, NAMES[labels])
    np.testing.assert_array_equal(found.predict(x_test), NAMES[np.arange(60) % 10])
    expected = data.from_arrays(*images)
    np.testing.assert_allclose(seen["problem"].x_train, expected.x_train, atol=1e-12)
    np.testing.assert_array_equal(seen["problem"].labels_train, labels)
    np.testing.assert_allclose(seen["x_test"], expected.x_test, atol=1e-12)
    assert (seen["arch"].depth, seen["ridge"], found.law_.inits) == (2, 0.5, 4)
    assert seen["corruption"] is NOISE
    assert seen["with_init_var"]


@pytest.mark.slow  # half a minute of compiling
def test_the_law_says_what_the_resummed_route_says(images, problem):
    x, labels, x_test, labels_test = images
    law = theory.resummed(
        theory.Architecture(depth=3, activation="erf"), NOISE, problem
    )
    found = LawClassifier(NOISE, inits=2).fit(x, NAMES[labels])
    shares = np.asarray(law.averaged(2).win_probabilities())
    # kernel rows of one test point at a time, or of 60: a rounding apart
    np.testing.assert_allclose(found.predict_proba(x_test), shares, atol=1e-6)
    decisions = NAMES[np.asarray(law.decisions())]
    np.testing.assert_array_equal(found.predict(x_test), decisions)
    assert (
        found.score(x_test, NAMES[labels_test])
        == (decisions == NAMES[labels_test]).mean()
    )
    expected = found.expected_accuracy(x_test, NAMES[labels_test])
    own = shares[np.arange(60), labels_test].mean()
    assert expected == pytest.approx(own, abs=1e-6)
    with raises("`y` must hold fitted labels, got 'digit 11'"):
        found.expected_accuracy(x_test, np.full(60, "digit 11"))


def test_settings_are_scikit_learns():
    found = KernelClassifier(ridge=0.1)
    assert repr(found) == "KernelClassifier(ridge=0.1)"
    assert repr(LawClassifier(inits=3)) == "LawClassifier(inits=3)"
    assert clone(found).get_params() == found.get_params()
    copy = clone(KernelClassifier(corruption=NOISE))
    assert float(copy.corruption.p) == 0.7


def test_the_kernel_is_cross_validated(images):
    x, labels, *_ = images
    rows = np.arange(60)  # one fold of a shape that is compiled
    scores = cross_val_score(
        KernelClassifier(ridge=RIDGE),
        x.reshape(60, -1),
        labels % 2,
        cv=[(rows, rows)],
    )
    assert scores == [1]


@pytest.mark.parametrize(
    ("classifier", "said"),
    [
        (KernelClassifier(kernel="ntkk"), "unknown kernel 'ntkk': did you mean 'ntk'"),
        (KernelClassifier(ridge=-1.0), "`ridge` must be finite and not negative"),
        (KernelClassifier(normalise="unit"), "takes pixels in [0, 1]"),
        (KernelClassifier(depth=0), "`depth`"),
        (LawClassifier(), "`corruption` must be given"),
    ],
)
def test_what_makes_no_sense_is_refused(images, classifier, said):
    x, labels, *_ = images
    with raises(said):
        classifier.fit(x, labels)


def test_one_class_and_equal_images_are_refused(images):
    x, labels, *_ = images
    with raises("2 classes or more, got one class"):
        KernelClassifier().fit(x, np.zeros(60))
    with pytest.raises(NumericalError, match="is singular: raise `ridge` above 0"):
        KernelClassifier(ridge=0.0, depth=1).fit(x[:30].repeat(2, 0), labels)


def test_arrays_of_jax_are_taken(images):
    x, labels, x_test, _ = images
    there = KernelClassifier(ridge=RIDGE).fit(jnp.asarray(x), jnp.asarray(labels))
    here = KernelClassifier(ridge=RIDGE).fit(x, labels)
    np.testing.assert_array_equal(there.predict(x_test), here.predict(x_test))


@pytest.mark.slow  # what is above is fast, and holds the numbers
def test_scikit_learns_own_checks_pass():
    """On its data, which are no pixels. Those skipped need pandas or array API."""
    results = check_estimator(
        KernelClassifier(normalise="none", b_var=0.1), on_fail=None, on_skip=None
    )
    failed = {each["check_name"] for each in results if each["status"] == "failed"}
    skipped = {each["check_name"] for each in results if each["status"] == "skipped"}
    assert not failed
    assert skipped <= {"check_array_api_input", "check_classifier_data_not_an_array"}
    assert len(results) > 40
