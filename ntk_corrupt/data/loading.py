"""From a name, or from the user's own arrays, to a `theory.Problem`."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike

from ntk_corrupt.data import (
    digits,
    downloads,
    hugging_face,
    local,
    prepared,
    prototypes,
)
from ntk_corrupt.data import normalise as normalisations
from ntk_corrupt.data.pool import Pool
from theory import files
from theory.errors import InputError, unknown
from theory.numerics.signatures import checked
from theory.problem import Problem

_BUILT_IN = {
    "digits": digits.read_pool,
    "colour_digits": digits.read_colour_pool,
    "gaussian_prototypes": prototypes.draw_pool,
}
NAMES = (*_BUILT_IN, *local.NAMES)


@checked
def load(
    name: str,
    *,
    n_train: int | None = None,
    n_test: int | None = None,
    normalise: str = "standardise",
    seed: int = 0,
    test_seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    size: int | tuple[int, int] | None = None,
    classes: Sequence[int] | None = None,
) -> Problem:
    """Loads a data set as a classification problem. MNIST: under 1 s from .gz.

    `digits` (scikit-learn's 8 x 8 images), `colour_digits` (the same in three channels)
    and `gaussian_prototypes` (synthetic; see the function of that name for its
    parameters) need no files. `mnist`, `kmnist`,
    `fashion_mnist` (IDX files, .gz or plain) and `cifar10` (binary or Python batches)
    are looked for in `data_dir/name` and in `data_dir`, then as saved by Hugging Face's
    `datasets` in either, then as prepared by tfds in `data_dir`; the network is used
    only when `download` is set.

    Args:
        name: one of `NAMES`.
        n_train: size of a balanced random subset of the training images; None is all.
            Subsets of one seed are nested (see `subsets`).
        n_test: the same of the test images.
        normalise: "standardise" (each image to mean 0, mean square 1), "unit" ([0, 1]),
            "signed" ([-1, 1]), "binary" (x >= 1/2) or "none" (as "unit", unchecked).
        seed: chooses the training subset, >= 0, and nothing else.
        test_seed: chooses the test subset, >= 0: the same one for all `seed`.
        data_dir: folder of the files; None is tfds's own: the environment variable
            TFDS_DATA_DIR, else ~/tensorflow_datasets. Ignored by sets without files.
        download: fetch the files into `data_dir/name` when they are found nowhere.
        size: height and width in pixels, or one integer for both: bilinear resizing,
            before the normalisation. None keeps the images.
        classes: labels to keep, relabelled 0, 1, ... in the order given; None is all.

    Returns:
        The problem: inputs (n, d), flattened (colour images with the channels last), in
        float64 where x64 is enabled, else float32; labels int32.

    Raises:
        InputError: an argument is out of its range, the files are not found, or one is
            damaged.
    """
    if name not in NAMES:
        raise unknown("data set", name, NAMES)
    normalisations.get(normalise)
    pool = (
        _BUILT_IN[name]()
        if name in _BUILT_IN
        else _read(name, data_dir, fetch=download)
    )
    return pool.problem(
        n_train=n_train,
        n_test=n_test,
        normalise=normalise,
        seed=seed,
        test_seed=test_seed,
        size=size,
        classes=classes,
    )


@checked
def from_arrays(
    x_train: ArrayLike,
    labels_train: ArrayLike,
    x_test: ArrayLike,
    labels_test: ArrayLike,
    *,
    normalise: str = "standardise",
    num_classes: int | None = None,
    n_train: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
    test_seed: int = 0,
    size: int | tuple[int, int] | None = None,
    classes: Sequence[int] | None = None,
) -> Problem:
    """Makes a problem of the user's own arrays, with the checks of `load`.

    Args:
        x_train: (n_train, ...) images of any shape. Bytes (uint8) are divided by 255
            unless `normalise` is "none"; other numbers are taken as they are.
        labels_train: (n_train,) integers in 0 ... num_classes-1.
        x_test: (n_test, ...) images of the same shape and type.
        labels_test: (n_test,) integers.
        normalise: as in `load`; "standardise" and "none" take values of any scale, the
            others pixels in [0, 1].
        num_classes: number of classes; None is the largest label plus one.
        n_train: as in `load`.
        n_test: as in `load`.
        seed: as in `load`.
        test_seed: as in `load`.
        size: as in `load`; needs (n, height, width) or (n, height, width, channels).
        classes: as in `load`.

    Returns:
        The problem, as in `load`.

    Raises:
        InputError: shapes disagree, labels are not integers in range, a class has no
            training image, values are not finite, or as in `load`.
    """
    normalisations.get(normalise)
    images_train, images_test = np.asarray(x_train), np.asarray(x_test)
    if images_train.dtype != images_test.dtype:
        raise InputError(
            "`x_train` and `x_test` must have the same dtype, got "
            f"{images_train.dtype} and {images_test.dtype}."
        )
    labels = np.asarray(labels_train), np.asarray(labels_test)
    if num_classes is None:
        # At least 2 so that odd labels are reported as such, by the checks of the pool.
        num_classes = max(2, *(_largest(values) + 1 for values in labels))
    as_bytes = images_train.dtype == np.uint8 and normalise != "none"
    pool = Pool(
        images_train=images_train,
        labels_train=labels[0],
        images_test=images_test,
        labels_test=labels[1],
        num_classes=num_classes,
        scale=255.0 if as_bytes else 1.0,
    )
    return pool.problem(
        n_train=n_train,
        n_test=n_test,
        normalise=normalise,
        seed=seed,
        test_seed=test_seed,
        size=size,
        classes=classes,
    )


@checked
def load_from_disk(
    path: str | os.PathLike[str],
    *,
    image: str | None = None,
    label: str | None = None,
    splits: tuple[str, str] = ("train", "test"),
    normalise: str = "standardise",
    n_train: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
    test_seed: int = 0,
    size: int | tuple[int, int] | None = None,
    classes: Sequence[int] | None = None,
) -> Problem:
    """Loads any image classification set that Hugging Face's `datasets` saved.

    What `DatasetDict.save_to_disk(path)` wrote, with pyarrow: neither `datasets` nor
    the network is needed. Images come in the order in which they are stored.

    Args:
        path: the folder.
        image: the column of the images, encoded or nested lists of numbers; None is the
            only one that can be.
        label: the column of the labels, class labels or integers; None likewise.
        splits: those to train on and to test on.
        normalise: as in `from_arrays`.
        n_train: as in `load`.
        n_test: as in `load`.
        seed: as in `load`.
        test_seed: as in `load`.
        size: as in `load`.
        classes: as in `load`.

    Returns:
        The problem, as in `load`.

    Raises:
        InputError: the folder holds no such set, a column or a split is not there or
            not the only one, a file is damaged, or as in `load`.
    """
    normalisations.get(normalise)
    pool = hugging_face.read_saved(
        files.expanded(path), image=image, label=label, splits=splits
    )
    return pool.problem(
        n_train=n_train,
        n_test=n_test,
        normalise=normalise,
        seed=seed,
        test_seed=test_seed,
        size=size,
        classes=classes,
    )


def _largest(labels: np.ndarray) -> int:
    return int(labels.max()) if labels.size and labels.dtype.kind in "iu" else 0


def _read(name: str, data_dir: str | os.PathLike[str] | None, *, fetch: bool) -> Pool:
    """Local files, then tfds, then the network, or one error that says all three."""
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    directory = files.expanded(chosen)
    if data_dir is not None and not directory.is_dir() and not fetch:
        raise InputError(
            f"`data_dir` must be an existing folder, got {directory}: make it and put "
            f"the files of {name!r} there, or pass `download=True`."
        )
    for read in (local.read_pool, hugging_face.read_pool, prepared.read_pool):
        pool = read(name, directory)
        if pool is not None:
            return pool
    if fetch:
        downloads.fetch(name, directory)
        pool = local.read_pool(name, directory)
        if pool is not None:
            return pool
    raise InputError(
        f"no {name!r} found: looked in {directory / name} and {directory} for "
        f"{local.files(name)}, or for a set saved by `datasets`, and in "
        f"{directory / name} for a set prepared by tfds. "
        "Put the files there, name their folder in `data_dir`, prepare them with "
        "data.prepare_tfds, or pass `download=True`; 'digits' needs no files."
    )
