"""The 1797 images of 8 x 8 handwritten digits that come with scikit-learn.

They need no file and no network. The set has no official split. Ours orders the images
of each class by a checksum of their pixels, takes the first two thirds for training and
the rest for testing: shuffled, stratified, and the same on every machine, because no
random generator takes part.
"""

import zlib

import numpy as np

from ntk_corrupt.data.pool import Pool


def read_pool() -> Pool:
    """All digits: 1198 training and 599 test images, (n, 8, 8), values 0 ... 16."""
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = bunch.images.astype(np.uint8)
    labels = bunch.target.astype(np.int64)
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
