"""Where files of a set are looked for, what is missing there, and what disagrees."""

import numpy as np
from closeness import raises
from data_files import STEMS, small_set, write_idx

from ntk_corrupt.data import loading


def test_files_that_disagree_or_are_missing_are_refused(mnist_dir):
    folder = mnist_dir / "mnist"
    arrays = small_set()
    write_idx(folder, {"labels_test": arrays["labels_test"][:-1]})
    with raises("must agree: 20 images, 19 labels"):
        loading.load("mnist", data_dir=mnist_dir)
    (folder / STEMS["labels_test"]).unlink()
    with raises("must hold all four IDX files, got 3: t10k-labels-idx1-ubyte"):
        loading.load("mnist", data_dir=mnist_dir)
    write_idx(folder, arrays | {"labels_train": arrays["labels_train"] + 1})
    with raises("`labels_train` must lie in 0 ... 9, got 10"):
        loading.load("mnist", data_dir=mnist_dir)
    write_idx(folder, arrays | {"labels_train": arrays["labels_train"] % 9})
    with raises("got none of class 9"):
        loading.load("mnist", data_dir=mnist_dir)
    write_idx(folder, arrays | {"images_test": arrays["images_test"][:, :5]})
    with raises("must hold images of one shape, got (6, 5) and (5, 5)"):
        loading.load("mnist", data_dir=mnist_dir)


def test_a_missing_folder_or_missing_files_say_what_to_do(tmp_path, monkeypatch):
    absent = tmp_path / "absent"
    with raises(f"`data_dir` must be an existing folder, got {absent}"):
        loading.load("mnist", data_dir=absent)
    with raises("no 'kmnist' found: looked in"):
        loading.load("kmnist", data_dir=tmp_path)
    for text in (
        str(tmp_path / "kmnist"),
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, ",
        "plain or .gz",
        "a set prepared by tfds",
        "`data_dir`",
        "data.prepare_tfds",
        "`download=True`",
    ):
        with raises(text):
            loading.load("kmnist", data_dir=tmp_path)
    with raises("data_batch_1.bin"):
        loading.load("cifar10", data_dir=tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nowhere"))
    with raises(str(tmp_path / "nowhere" / "mnist")):
        loading.load("mnist")
    # Sets without files do not look at the folder.
    assert loading.load("digits", data_dir=absent, n_train=10).x_train.shape == (10, 64)


def test_files_directly_in_a_folder_named_after_another_set_are_refused(mnist_dir):
    with raises("must hold 'kmnist', but by its name it holds 'mnist'"):
        loading.load("kmnist", data_dir=mnist_dir / "mnist")
    direct = loading.load("mnist", data_dir=mnist_dir / "mnist", n_train=10)
    above = loading.load("mnist", data_dir=str(mnist_dir), n_train=10)
    np.testing.assert_array_equal(direct.x_train, above.x_train)
