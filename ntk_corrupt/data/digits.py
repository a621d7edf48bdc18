"""The 1797 images of 8 x 8 handwritten digits that come with scikit-learn.

They need no file and no network. The set has no official split. Ours orders the images
of each class by a checksum of their pixels, takes the first two thirds for training and
the rest for testing: shuffled, stratified, and the same on every machine, because no
random generator takes part.
"""

import gzip
import importlib.util
import pathlib
import zlib

import numpy as np

from ntk_corrupt.data.pool import Pool


def _read() -> tuple[np.ndarray, np.ndarray]:
    """The images, as they come, and their labels."""
    # The file itself: importing scikit-learn takes as long as compiling a network.
    package = importlib.util.find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    for folder in folders or ():
        file = pathlib.Path(folder, "datasets", "data", "digits.csv.gz")
        if file.exists():
            with gzip.open(file, "rt") as rows:
                table = np.loadtxt(rows, delimiter=",", dtype=np.uint8)
            return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    from sklearn import datasets

    bunch = datasets.load_digits()
    return bunch.images.astype(np.uint8), bunch.target.astype(np.int64)


def read_pool() -> Pool:
    """All digits: 1198 training and 599 test images, (n, 8, 8), values 0 ... 16."""
    images, labels = _read()
    checksums = np.array([zlib.crc32(image.tobytes()) for image in images])
    order = np.argsort(checksums, kind="stable")
    rank = np.empty(len(labels), dtype=np.int64)  # within the class, by checksum
    for i in range(10):
        members = order[labels[order] == i]
        rank[members] = np.arange(len(members))
    counts = np.bincount(labels)
    train = rank[order] < np.round(counts * 2 / 3)[labels[order]]
    return Pool(
        images_train=images[order[train]],
        labels_train=labels[order[train]],
        images_test=images[order[~train]],
        labels_test=labels[order[~train]],
        num_classes=10,
        scale=16.0,
    )
