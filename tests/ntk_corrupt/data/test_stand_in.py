"""Stand-ins have the shapes of the data sets, and refuse what these refuse."""

import numpy as np
import pytest

from ntk_corrupt import data
from ntk_corrupt.data import loading
from ntk_corrupt.data.stand_in import stand_in
from theory.errors import InputError


@pytest.mark.parametrize("name", ["digits", "gaussian_prototypes"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_train": 50, "n_test": 30},
        {"n_train": 20, "n_test": 20, "classes": (3, 5)},
        {"n_train": 20, "size": 4},
        {"n_train": 5},
        {"n_train": 10**9},
        {"n_test": 0},
        {"n_train": 1190},
        {"normalise": "unit"},
        {"normalise": "unti"},
        {"classes": (3, 3)},
        {"size": 0},
    ],
)
def test_a_stand_in_is_as_what_it_stands_for(name, settings):
    found, said = [], []
    for make in (data.load, stand_in):
        try:
            found.append(make(name, **settings))
        except InputError as error:
            said.append(str(error).partition("(")[0].partition("got")[0])
    if said:
        assert said[0].partition(":")[0] == said[-1].partition(":")[0]
        assert len(said) == 2
        return
    loaded, stands = found
    assert stands.num_classes == loaded.num_classes
    for part in ("x_train", "labels_train", "x_test", "labels_test"):
        assert getattr(stands, part).shape == getattr(loaded, part).shape
    for part in ("labels_train", "labels_test"):
        one, other = (np.bincount(getattr(each, part)) for each in found)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "n_train", "n_test", "d"),
    [
        ("mnist", 60_000, 10_000, 784),
        ("fashion_mnist", 60_000, 10_000, 784),
        ("kmnist", 60_000, 10_000, 784),
        ("cifar10", 50_000, 10_000, 3072),
    ],
)
def test_published_sets_have_their_sizes(name, n_train, n_test, d):
    found = stand_in(name, normalise="signed")
    assert found.x_train.shape == (n_train, d)
    assert found.x_test.shape == (n_test, d)
    assert -1 <= found.x_train[0].min() < found.x_train[0].max() <= 1
    assert not np.asarray(found.x_train).strides[0]  # one image, not so many


@pytest.mark.parametrize("name", loading.NAMES)
def test_every_set_has_a_stand_in(name):
    normalise = "none" if name == "gaussian_prototypes" else "unit"
    assert stand_in(name, n_train=20, normalise=normalise).num_classes == 10


def test_an_unknown_set_is_refused():
    with pytest.raises(InputError, match="unknown data set 'minst': did you mean"):
        stand_in("minst")
