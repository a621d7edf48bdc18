"""IDX files under the names and in the folders that people have them in.

cudnn-training#13, sorki/python-mnist#19, flashlight#97, davidMcneil/mnist#2, and
Kaggle's hojjatk/mnist-dataset.
"""

import gzip

import numpy as np
import pytest
from closeness import raises
from data_files import STEMS, idx_bytes, small_set

from ntk_corrupt.data import loading

SPELLINGS = {
    "plain": lambda stem: stem,
    "dots": lambda stem: stem.replace("-idx", ".idx"),
    "a folder around it": lambda stem: f"{stem}/{stem}",
    "a folder with dots around it": lambda stem: (
        f"{stem}/{stem.replace('-idx', '.idx')}"
    ),
    "capitals": lambda stem: stem.upper(),
    "gzip in capitals": lambda stem: f"{stem}.GZ",
    "torchvision": lambda stem: f"MNIST/raw/{stem}",
}


def write(folder, spelling, compress):
    arrays = small_set()
    for name, stem in STEMS.items():
        path = folder / SPELLINGS[spelling](stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = idx_bytes(arrays[name])
        path.write_bytes(gzip.compress(content) if compress else content)
    return arrays


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_holds_the_same_images(tmp_path, spelling, compress):
    # what is in a file decides whether it is compressed, not its name
    for folder in (tmp_path / "one", tmp_path / "two" / "mnist"):
        arrays = write(folder, spelling, compress)
        found = loading.load("mnist", data_dir=folder, normalise="unit", n_train=40)
        assert len(found.x_train) == 40
        images = arrays["images_test"].reshape(20, -1) / 255
        got = np.asarray(found.x_test)
        order = np.lexsort(images.T), np.lexsort(got.T)
        np.testing.assert_allclose(got[order[1]], images[order[0]], atol=1e-6)
    above = loading.load(
        "mnist", data_dir=tmp_path / "two", normalise="unit", n_train=40
    )
    np.testing.assert_array_equal(above.x_test, found.x_test)


def test_the_file_with_the_published_name_comes_first(tmp_path):
    write(tmp_path, "plain", False)
    other = small_set()
    for name, stem in STEMS.items():
        changed = idx_bytes(255 - other[name] if "images" in name else other[name])
        (tmp_path / stem.replace("-idx", ".idx")).write_bytes(changed)
    found = loading.load("mnist", data_dir=tmp_path, normalise="unit", n_train=40)
    expected = other["images_test"].astype(float).mean() / 255
    assert float(found.x_test.mean()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("folder", ["FashionMNIST/raw", "fashionmnist", "KMNIST/raw"])
def test_folders_of_other_sets_are_refused(tmp_path, folder):
    write(tmp_path / folder, "plain", False)
    with raises("must hold 'mnist', but by its name it holds"):
        loading.load("mnist", data_dir=tmp_path / folder)
    with raises("no 'mnist' found"):
        loading.load("mnist", data_dir=tmp_path)
    name = "kmnist" if folder[0] == "K" else "fashion_mnist"
    assert len(loading.load(name, data_dir=tmp_path / folder, n_train=10).x_train) == 10
